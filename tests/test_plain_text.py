"""Which characters are shown as codes, and that nothing else changes."""

import json
import sys
import unicodedata
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.plain_text import plain
from tests.table import table

pytestmark = pytest.mark.slow

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
WITHOUT_A_GLYPH = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"


@pytest.mark.slow
def test_every_character_that_controls_or_hides_text_becomes_its_code():
    """All of Unicode is compared: controls, formats, surrogates and separators of lines are hidden, no letter is."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for letter in map(chr, range(sys.maxunicode + 1)):
        kinds[unicodedata.category(letter)].append(letter)
    hidden = sorted({letter for kind in HIDDEN for letter in kinds[kind]} | set(WITHOUT_A_GLYPH))
    assert len(hidden) > 2_000
    assert set(plain("".join(hidden))).isdisjoint(hidden)
    shown = {letter for kind in kinds if kind[0] in "LNPSZ" for letter in kinds[kind]} - set(hidden)
    others = "".join(sorted(shown))
    assert len(others) > 100_000
    assert plain(others) == others


@table(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Zoë, 東京, 🎉", "Zoë, 東京, 🎉"),
        ("a\x1b[2J\x9b", "a\\x1b[2J\\u009b"),
        ("one\ntwo\tthree\r", "one\\x0atwo\\x09three\\x0d"),
        ("\u061cв\u200b\u2028\u202e\u2066\ufeff", "\\u061cв\\u200b\\u2028\\u202e\\u2066\\ufeff"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d💻",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 👩\u200d💻",
        ),
        ("a\u200cb\u200d💻 👩\u200d", "a\\u200cb\\u200d💻 👩\\u200d"),
        ("tag \U000e0041", "tag \\udb40\\udc41"),
    ],
)
def test_codes(text: str, expected: str):
    """A code is as short as JSON's."""
    assert plain(text) == expected


def test_lines_are_kept_where_they_are_wanted():
    """Line breaks and tabs only: a carriage return overwrites a line."""
    assert plain("a\n\tb\r\u2028", lines=True) == "a\n\tb\\x0d\\u2028"


@given(st.recursive(st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_document_stays_the_same(value):
    """JSON with its hidden characters as codes is still the same JSON."""
    assert json.loads(plain(json.dumps(value, indent=2, ensure_ascii=False), lines=True)) == value
