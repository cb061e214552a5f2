"""Strict reading of JSON objects from outside: a document that two parsers could read differently is rejected."""

import json
from typing import Any, NoReturn


def json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`, or ValueError.

    It must be UTF-8 (no BOM, no other encoding), without duplicate members (RFC 7519, section 4), NaN or Infinity
    (RFC 8259, section 6) or halves of surrogate pairs, which cannot be written again. Nesting that is too deep for the
    parser and numbers that are too long are rejected too. The error's text holds nothing of the document.
    """
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in raw:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise ValueError("not JSON in UTF-8 that every reader understands alike") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a document's content, not an argument's type
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
