"""Possessive repetitions that are right in every Python from 3.11.

Python before 3.11.5 does not go back to where a round of `(?:…)*+` began when that round fails behind a lookahead or
another repetition: the match is too long (CPython issue 106052, "re module: possessive quantifiers"). The last branch
below never matches, and `re` goes back to the start of the round before it tries a branch. `[…]*+` has no such fault.
"""


def possessive(inner: str, times: str = "*") -> str:
    """`inner`, which may be a choice, repeated as often as `times` says, and never given back."""
    return f"(?:{inner}|(?!)){times}+"
