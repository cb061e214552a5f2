"""Which known name was probably meant by one that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches

NEAR = 0.78
"""How much two names have in common at least, from 0 to 1."""


def near(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant, in whatever letters; "" if there is none."""
    by_letters = {each.lower(): each for each in sorted(known)}
    found = get_close_matches(name.lower(), by_letters, n=1, cutoff=NEAR)
    return by_letters[found[0]] if found else ""
