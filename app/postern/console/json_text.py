"""JSON as people read it: a line for each member. Pure.

Only the spaces between the tokens change, so numbers keep their digits, and names that are there twice stay."""

import re
from collections.abc import Iterator

MOST_DEPTH = 100
"""Deeper documents are shown as they are."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_EMPTY = re.compile(r"(?:\{\s*\}|\[\s*\])")


def spread_out(text: str) -> str:
    """A valid JSON document with line breaks and indents."""
    return "".join(_pieces(text)) if _depth(text) <= MOST_DEPTH else text


def _pieces(text: str) -> Iterator[str]:
    depth, at, end = 0, 0, len(text)
    while at < end:
        if empty := _EMPTY.match(text, at):
            yield empty[0][0] + empty[0][-1]
            at = empty.end()
            continue
        found = _TOKEN.match(text, at)
        if found is None:  # spaces
            at += 1
            continue
        piece, at = found[0], found.end()
        if piece in ("{", "["):
            depth += 1
            yield f"{piece}\n{'  ' * depth}"
        elif piece in ("}", "]"):
            depth -= 1
            yield f"\n{'  ' * depth}{piece}"
        elif piece == ",":
            yield f",\n{'  ' * depth}"
        else:
            yield ": " if piece == ":" else piece


def _depth(text: str) -> int:
    deepest = depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in ("{", "["):
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in ("}", "]"):
            depth -= 1
    return deepest
