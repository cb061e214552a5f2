"""JSON as people read it: a line for each member. Pure.

Only the spaces between the tokens change, so numbers keep their digits, and names that are there twice stay."""

import re
from collections.abc import Iterator

MOST_DEPTH = 100
"""Deeper documents are shown as they are."""

MOST_GROWTH = 4
"""How many times as long a document may become. Indents multiply: a small document with many members deep inside would
become a page of megabytes. One that would become longer is shown as it is."""
SMALL = 10_000
"""Characters that each document may become."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\{\s*\}|\[\s*\]|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def spread_out(text: str) -> str:
    """A valid JSON document with line breaks and indents."""
    room = max(MOST_GROWTH * len(text), SMALL)
    pieces: list[str] = []
    for piece, depth, _ in _pieces(text):
        pieces.append(piece)
        room -= len(piece)
        if room < 0 or depth > MOST_DEPTH:
            return text
    return "".join(pieces)


def beginning(text: str, most: int) -> tuple[str, int]:
    """The first `most` characters or more of such a document with line breaks and indents, and how many characters of
    the text are behind them. It takes no longer for a long text."""
    pieces: list[str] = []
    room = most
    for piece, depth, end in _pieces(text):
        if depth > MOST_DEPTH:
            return text[:most], len(text[most:])
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            return "".join(pieces), max(len(text.rstrip()) - end, 0)
    return "".join(pieces), 0


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """The tokens with their line breaks, with the depth behind each and where it ends in the text."""
    line, depth = "\n", 0  # a line break with the indent of this depth
    for found in _TOKEN.finditer(text):
        piece = found[0]
        first = piece[0]
        if first in "{[":
            if len(piece) == 1:
                depth += 1
                line = f"\n{'  ' * depth}"
                piece += line
            else:  # it is empty
                piece = first + piece[-1]
        elif first in "}]":
            depth -= 1
            line = f"\n{'  ' * depth}"
            piece = line + first
        elif first == ",":
            piece += line
        elif first == ":":
            piece = ": "
        yield piece, depth, found.end()
