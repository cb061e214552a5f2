"""Where the value behind a name ends, in plain text: a word, a string, a call, a list or dict, or an indented block.
Each character is read once.
"""

import re

from postern.possessive import possessive

_WORD = re.compile(
    r"""(?:(?i:bearer|basic|digest|negotiate|sharedaccesssignature)[ ]{1,3})?"""
    r"""[^\s&,;(){}\[\]"'<][^\s&,;)}\]"'<]*+""",
    re.ASCII,
)
_REST = re.compile(r"""[^\s&,;(){}\[\]"'<]*+""", re.ASCII)
_LONG = {quote: possessive(rf"(?!{quote}{{3}}).", "+") for quote in "\"'"}
_IN_STRING = {quote: possessive(rf"[^{quote}\\]|\\.|{quote}{quote}") for quote in "\"'"}
_STRING = re.compile(
    rf"""[bBrRuUfF]{{0,2}}(?:\"{{3}}{_LONG['"']}(?:\"{{3}})?|'{{3}}{_LONG["'"]}(?:'{{3}})?"""
    rf"""|"{_IN_STRING['"']}"?|'{_IN_STRING["'"]}'?)""",
    re.DOTALL,
)
_ESCAPED_STRING = re.compile(r"""(\\{1,16})(["'])""")
_REFERENCE = re.compile(r"\{\s{0,3}key_vault", re.ASCII)
_DOUBLE, _SINGLE = (possessive(rf"[^{quote}\\]|\\.") for quote in "\"'")
_INNER = re.compile(rf"""\\.|"{_DOUBLE}"|'{_SINGLE}'|[(){{}}\[\]]""", re.DOTALL)
_BLOCK = re.compile(r"[|>][-+\d]{0,2}[ \t]*+\r?\n" + possessive(r"[ \t]++[^\n]*+\n?|\r?\n"))
_LINES = re.compile(r"[^\n]*+" + possessive(r"\n[ \t]++[^\n]*+"))
_ITEMS = re.compile(r"-[ \t][^\n]*+" + possessive(r"\n[ \t]*+-[ \t][^\n]*+"))
_INDENTED = re.compile(r"\n[ \t]++\Z")

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


def end_of_value(text: str, at: int, gap: str = "") -> int:
    """Where the value that begins at `at` ends; `at` itself if there is none. `gap` is what is between the name and the
    value. The reference `{ key_vault = "name" }` is no value."""
    if at >= len(text) or _REFERENCE.match(text, at):
        return at
    if found := _ESCAPED_STRING.match(text, at):
        return _end_of_escaped(text, found)
    if found := _STRING.match(text, at):
        return found.end()
    if text[at] in _OPENING:
        return _end_of_brackets(text, at)
    for pattern in (_BLOCK, _ITEMS):
        if found := pattern.match(text, at):
            return found.end()
    if _INDENTED.search(gap) and (found := _LINES.match(text, at)):
        return found.end()
    found = _WORD.match(text, at)
    if found is None:
        return at
    end = found.end()
    # The word may be the name of a call, as in `SecretStr('abc')`.
    return _end_of_brackets(text, end - 1) if text[end - 1] in _OPENING else end


def _end_of_escaped(text: str, opening: "re.Match[str]") -> int:
    """The end of a string whose quotes are escaped. A quote in it has more backslashes."""
    for found in re.compile(rf"(\\*+){opening[2]}").finditer(text, opening.end()):
        if len(found[1]) <= len(opening[1]):
            return found.end()
    return len(text)


def _end_of_brackets(text: str, at: int) -> int:
    """The end of what is in brackets, with what follows at once. Everything if they are not closed."""
    depth = 0
    for found in _INNER.finditer(text, at):
        if found[0] in _OPENING:
            depth += 1
        elif found[0] in _CLOSING:
            depth -= 1
            if depth <= 0:
                rest = _REST.match(text, found.end())
                return rest.end() if rest else found.end()
    return len(text)
