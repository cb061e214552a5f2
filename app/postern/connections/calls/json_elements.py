"""Counts the elements of a JSON document before it is parsed: each takes time and memory, however few its bytes. Pure.

Source of the grammar: RFC 8259, sections 4, 5 and 7.
"""

import re

_STRING = re.compile(rb'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
"""A string, also one that does not end. It never goes back, so its time is that of its length."""


def has_more_elements(document: bytes, most: int) -> bool:
    """Whether the document has more than so many elements: arrays, objects, the names in them, and values. If it may
    have, its strings are looked at one by one, at most as many as it may have elements."""
    if len(document) <= most or _signs(document) <= most:
        return False
    found = end = 0
    for string in _STRING.finditer(document):
        found += _signs(document[end : string.start()])
        if found > most:
            return True
        end = string.end()
    return found + _signs(document[end:]) > most


def _signs(part: bytes) -> int:
    """Each of these signs is one element more."""
    return part.count(b",") + part.count(b":") + part.count(b"[") + part.count(b"{")
