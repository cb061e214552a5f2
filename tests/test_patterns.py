"""No regular expression of Postern can be held by a text: Python's `re` backtracks. A repetition within another one
takes exponential time, unless something between them shows where each round ends."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, cast

import pytest

from postern.possessive import possessive

APP = Path(__file__).parent.parent / "app" / "postern"
FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "findall", "finditer", "split"}
SEVERAL = 8
"""Rounds of a repetition that may have another one in it."""


def patterns() -> Iterator[tuple[str, str | bytes]]:
    """The place of every pattern that is written in the source, and the pattern."""
    for file in sorted(APP.rglob("*.py")):
        text = file.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if "import re" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                called, first = node.func, node.args[0]
                of_re = isinstance(called.value, ast.Name) and called.value.id == "re" and called.attr in FUNCTIONS
                if of_re and isinstance(first, ast.Constant) and isinstance(first.value, str | bytes):
                    yield f"{file.relative_to(APP)}:{node.lineno}", first.value


def can_be_held(parsed: Any, within: bool = False) -> bool:
    """Whether a repetition has another one in it, and the rounds of the outer one do not begin or end with a fixed
    character."""
    for operation, argument in parsed:
        if operation in (constants.MAX_REPEAT, constants.MIN_REPEAT):
            least, most, inner = argument
            long = most is constants.MAXREPEAT or most > SEVERAL
            if (within and long and least != most) or can_be_held(inner, long and not is_marked(inner)):
                return True
        elif any(can_be_held(inner, within) for inner in inner_of(operation, argument)):
            return True
    return False


def inner_of(operation: Any, argument: Any) -> list[Any]:
    if operation is constants.SUBPATTERN:
        return [argument[-1]]
    if operation is constants.BRANCH:
        return list(argument[1])
    return [argument[1]] if operation in (constants.ASSERT, constants.ASSERT_NOT) else []


def is_marked(parsed: Any) -> bool:
    """Whether a sequence begins or ends with a character that must be there."""
    parts = list(parsed)
    if len(parts) == 1 and parts[0][0] is constants.SUBPATTERN:
        return is_marked(parts[0][1][-1])
    return bool(parts) and constants.LITERAL in (parts[0][0], parts[-1][0])


@pytest.mark.parametrize(
    ("text", "found"),
    [("(a+)+", True), ("([a-z]+,?)*c", True), ("[a-z]+(-[a-z]+)*", False), ("(a+b)?c+", False), ("(?:a|b+)+", True)],
)
def test_a_repetition_within_a_repetition_is_found(text: str, found: bool) -> None:
    assert can_be_held(parser.parse(text)) is found


def test_no_pattern_repeats_a_repetition() -> None:
    found = list(patterns())
    assert len(found) > 150
    assert [place for place, pattern in found if can_be_held(parser.parse(pattern))] == []


def test_no_pattern_of_a_module_repeats_a_choice_possessively_but_in_the_safe_form() -> None:
    """See `postern.possessive`: Python before 3.11.5 finds too long a match, and a secret behind it would stay."""
    found = {f"{module}.{name}": pattern for module, name, pattern in made_patterns()}
    assert len(found) > 150
    assert [name for name, pattern in found.items() if overshoots(parser.parse(pattern.pattern, pattern.flags))] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("(?:a|b(?!c))*+", True),
        ("(?:ab?)++", True),
        ("x(?=(?:a[bc]*)?+)", True),
        ("[ab]*+c++", False),
        (possessive("a|b(?!c)"), False),
        (possessive("ab?", "{0,2}"), False),
    ],
)
def test_a_possessive_choice_is_found(text: str, found: bool) -> None:
    assert overshoots(parser.parse(text)) is found


def test_a_possessive_choice_ends_where_its_last_round_began() -> None:
    assert re.match(possessive("[^-]|-(?!----)"), "ab-c-----d").end() == 4  # type: ignore[union-attr]
    assert re.match(possessive("ab?c"), "abcacab").end() == 5  # type: ignore[union-attr]


def made_patterns() -> Iterator[tuple[str, str, "re.Pattern[Any]"]]:
    """The patterns that modules have, also those that are put together: module, name, pattern."""
    for file in sorted(APP.rglob("*.py")):
        if "re.compile(" in file.read_text("utf-8"):
            name = ".".join(("postern", *file.relative_to(APP).with_suffix("").parts))
            yield from (
                (name, each, value)
                for each, value in vars(importlib.import_module(name)).items()
                if isinstance(value, re.Pattern)
            )


def overshoots(parsed: Any) -> bool:
    """Whether a possessive repetition has rounds of more than one character, and no last branch that never matches."""
    for operation, argument in parsed:
        if operation is constants.POSSESSIVE_REPEAT and not is_safe(argument[-1]):
            return True
        repeats = (constants.POSSESSIVE_REPEAT, constants.MAX_REPEAT, constants.MIN_REPEAT)
        inner = [argument[-1]] if operation in repeats else inner_of(operation, argument)
        if any(overshoots(each) for each in inner):
            return True
    return False


def is_safe(inner: Any) -> bool:
    parts = list(inner)
    if len(parts) == 1 and parts[0][0] is constants.BRANCH:
        last = list(parts[0][1][1][-1])
        operation, argument = cast("Any", last[0] if len(last) == 1 else (None, None))
        return operation is constants.FAILURE or (operation is constants.ASSERT_NOT and not list(argument[1]))
    single = (constants.IN, constants.LITERAL, constants.NOT_LITERAL, constants.ANY)
    return len(parts) == 1 and parts[0][0] in single
