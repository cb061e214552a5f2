"""JSON as people read it: a line for each member. Pure.

Only the spaces between the tokens change, so numbers keep their digits, and names that are there twice stay."""

import re

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
    line, depth = "\n", 0  # a line break with the indent of this depth
    for found in _TOKEN.findall(text):
        piece, first = found, found[0]
        if first in "{[":
            if len(found) == 1:
                depth += 1
                line = f"\n{'  ' * depth}"
                piece = first + line
            else:  # it is empty
                piece = first + found[-1]
        elif first in "}]":
            depth -= 1
            line = f"\n{'  ' * depth}"
            piece = line + first
        elif first == ",":
            piece = first + line
        elif first == ":":
            piece = ": "
        pieces.append(piece)
        room -= len(piece)
        if room < 0 or depth > MOST_DEPTH:
            return text
    return "".join(pieces)
