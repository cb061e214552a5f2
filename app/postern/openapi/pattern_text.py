"""A text that fits a regular expression, for examples: `^[A-Z]{2}-\\d+$` gives `AA-0`. Pure.

It follows the parsed expression and takes the first way at each choice. Its result is a proposal: what it cannot follow
(a look-ahead, a syntax of pydantic's that Python does not have) is left out, so the caller compares the result with
the expression.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. @/:+#,;"
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
MAX_TEXT = 1000
_MOST_PARTS = 10_000


def text_for(pattern: str, least: int = 0, most: int | None = None) -> str | None:
    """A text that the pattern matches and whose length is in the bounds; None if none was found."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of syntax that Python reads otherwise than pydantic, as a set in a set
            compiled = re.compile(pattern)
            parsed = list(re._parser.parse(pattern))  # type: ignore[attr-defined]
        for count in _COUNTS:
            text = "".join(_Walk(count).texts(parsed))
            if least <= len(text) <= (MAX_TEXT if most is None else most) and compiled.search(text):
                return text
    except (re.error, Warning, ValueError, OverflowError, RecursionError, AttributeError):
        pass
    return None


class _Walk:
    """One text; a part that may be repeated is repeated `count` times, as far as its bounds allow."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._left = _MOST_PARTS
        self._groups: dict[int, str] = {}

    def texts(self, parsed: Any) -> Iterator[str]:
        for operator, value in parsed:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many parts")
            yield self._text(str(operator), value)

    def _text(self, operator: str, value: Any) -> str:
        match operator:
            case "LITERAL":
                return chr(value)
            case "NOT_LITERAL":
                return next(letter for letter in _LETTERS if ord(letter) != value)
            case "ANY":
                return "a"
            case "IN":
                return _letter(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, part = value
                return "".join("".join(self.texts(part)) for _ in range(max(int(least), min(int(most), self._count))))
            case "SUBPATTERN":
                text = "".join(self.texts(value[-1]))
                self._groups[value[0]] = text
                return text
            case "ATOMIC_GROUP":
                return "".join(self.texts(value))
            case "BRANCH":
                return "".join(self.texts(value[1][0]))
            case "GROUPREF":
                return str(self._groups.get(value, ""))
        return ""


def _letter(parts: Sequence[tuple[object, Any]]) -> str:
    """A character of a set, plain ones first."""
    negated = str(parts[0][0]) == "NEGATE"
    proposals: list[str] = [
        chr(value if str(kind) == "LITERAL" else value[0]) for kind, value in parts if _has_letter(kind)
    ]
    letters: list[str] = [*_LETTERS, *proposals]
    for letter in letters:
        if any(_fits(ord(letter), str(kind), value) for kind, value in parts) is not negated:
            return letter
    raise ValueError("no character of the set is known")


def _has_letter(kind: Any) -> bool:
    return str(kind) in ("LITERAL", "RANGE")


def _fits(code: int, kind: str, value: Any) -> bool:
    match kind:
        case "LITERAL":
            return bool(code == value)
        case "RANGE":
            return bool(value[0] <= code <= value[1])
        case "CATEGORY":
            name = str(value)
            plain = name.replace("_NOT_", "_")
            expression = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w"}[plain]
            return (re.fullmatch(expression, chr(code)) is not None) is (plain == name)
    return False
