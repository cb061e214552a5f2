"""The query with which a provider sends a browser back (RFC 6749, section 4.1.2). Pure."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from postern.console.faults import fault

_AADSTS = re.compile(r"AADSTS([0-9]{3,9})", re.ASCII)
_CODE = re.compile(r"[a-z_]{1,40}")
_MOST_PARAMETERS = 20


def parameters(request: Request, code: str = "sign-in-not-started") -> Mapping[str, str]:
    """The parameters of the query, each of which occurs once. Raises the fault `code`."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise fault(code, reason="the query is malformed") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise fault(code, reason="a parameter occurs more than once")
    return found


def error_in(query: Mapping[str, str]) -> str:
    """The `error`, for the record. Other text than a code may repeat what was sent, and is left out."""
    return query["error"] if _CODE.fullmatch(query["error"]) else "an error that is no code"


def numbers_in(query: Mapping[str, str]) -> tuple[int, ...]:
    """Entra's error numbers, for showing only. No other text of a provider is passed on."""
    return tuple(map(int, _AADSTS.findall(query.get("error_description", "")[:2000])[:3]))
