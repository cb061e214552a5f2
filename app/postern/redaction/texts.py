"""Plain texts without secrets: a log line, the message of an exception, a header. Every pattern reads a text once."""

import re
from html import unescape
from urllib.parse import unquote

from postern.possessive import possessive
from postern.redaction.names import SIGNS, is_secret_name
from postern.redaction.value_ends import end_of_value

REDACTED = "[redacted]"
TOKEN = "[token]"  # noqa: S105 - what replaces a token

_REPLACED = ("", '""', "''", REDACTED, "%5Bredacted%5D", TOKEN)

_DOTTED = re.compile(r"eyJ[\w=.-]*", re.ASCII)
"""What may be a JWT. Every match succeeds, so a long text is read once: the dot is checked afterwards."""

_SIGNS = re.compile(rf"eyj|://|basic |\\u00|%[2-7]|&#|{SIGNS}")
_SIGNS_IN_BYTES = re.compile(_SIGNS.pattern.encode())

_CHARACTERS = possessive(r"[\w$-]|\\{1,16}+u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}", "+")
_START = r"(?:(?<![\w$%\\-])|(?<=\\)(?![nrt]|u[0-9a-fA-F]{4})|(?<=\\[nrt])|(?<=%)(?![0-9a-fA-F]{2}))"
"""Where a name may begin: never behind a part of itself, so that a long name is read once."""
_WORDS = _START + _CHARACTERS + possessive(rf"[ +.]{_CHARACTERS}", "{0,2}")
_NAMED = re.compile(
    rf"""({_WORDS})\\{{0,16}}["']?\]?[*`]{{0,3}}(?:[ \t\xa0]*+\s{{0,3}}(?:=>|->|[:=]{{1,2}}|\uff1a)[*]{{0,2}}|\t)"""
    r"""([ \t\xa0]*+(?:\r?\n[ \t\xa0]*+){0,3})""",
    re.ASCII,
)
"""A name with a value behind it, as in `sig=abc`, `{'password': 'abc'}` and `API key: abc`. Quantifiers are possessive
where they have no bound, so that nothing is read twice."""

_IN_PAIR = re.compile(r"""[\[(]\s?b?["']([\w$.-]{1,100}+)["'],\s{0,3}(?=b?["'])""", re.ASCII)
"""The name in a pair, as in `('password', 'abc')`."""

_OPTION = re.compile(r"""(?<![\w-])--([\w.-]++)(?:["'],\s{0,3}|[ ]{1,3})(?=[^\s-])""", re.ASCII)
"""The name of an option, as in `--password abc` and `['--password', 'abc']`."""

_ELEMENT = re.compile(r"<(?:[\w.-]++:)?([\w.-]++)(?:\s[^<>]*+)?>([^<]++)(?=</)", re.ASCII)
"""An element of XML in another text."""

_ESCAPED_VALUE = possessive(r"[\w.~*+-]|%(?!26)[0-9A-F]{2}", "+")
_ESCAPED_PAIR = re.compile(rf"(%(?:3F|26))([\w.~-]{{1,100}}+)(%3D)({_ESCAPED_VALUE})", re.ASCII | re.IGNORECASE)
"""A pair of a query that is escaped, because its URL is a part of another one."""

_SCHEME = re.compile(
    r"\b((?:bearer|basic|negotiate)[ ]{1,3})(?=[\w.~+/-]*?\d|[\w.~+/-]{20})"
    r"[\w.~+/-]{8,}+=*+(?!\w)(?!(?<==)[\"'][^\s,;)}\]\"'])",
    re.ASCII | re.IGNORECASE,
)
"""Credentials behind their scheme, under any name."""

LONG_CODE = 20
_LONG_CODE = re.compile(rf"""([?&]code=)[^\s&"'<>#]{{{LONG_CODE},}}+""", re.ASCII | re.IGNORECASE)
"""The key of an Azure function, or a code of a sign-in. A short code of a query is a code of something else."""

_HEADER = re.compile(
    r"""\b((?:proxy-)?authorization|(?:set-)?cookie)(\s{0,3}:[ \t]{0,3})(?=[^\s"'\[{(])"""
    r"""[^\r\n"']++""" + possessive(r"\r?\n[ \t]++[^\r\n]*+"),
    re.ASCII | re.IGNORECASE,
)
"""A header whose whole line is a secret, with lines that continue it."""

_USER = re.compile(r"""://([^\s/:@"'?#\[]{0,200}):(?!\d{1,5}(?:[/?#]|\Z))([^\s@"']{1,200})@""", re.ASCII)
"""A password in a URL. It may have a slash, if it is not behind what may be a port."""

_USER_TOKEN = re.compile(r"""://(?=[^\s/:@]{0,200}?\d)[^\s/:@"'?#\[]{20,255}@""", re.ASCII)
"""A token in place of a user, as in the URLs of Git."""

_PRIVATE_KEY = re.compile(
    rf"-----BEGIN [A-Z ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----{possessive('[^-]|-(?!----)')}"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)

_ESCAPES = re.compile(r"(?<!\\)\\++u([0-9a-fA-F]{4})")
_WORD = re.compile(r"[\w$-]++", re.ASCII)
_TOGETHER = re.compile(r"[ .+_:/]", re.ASCII)


def may_tell(content: str | bytes) -> bool:
    """Whether a body or text may have anything to redact. Nearly all have not, and are read no further."""
    if isinstance(content, bytes):
        return _SIGNS_IN_BYTES.search(content.lower()) is not None
    return _SIGNS.search(content.lower()) is not None


def without_tokens(text: str) -> str:
    """The text with `[token]` in place of every JWT."""
    return _DOTTED.sub(lambda found: TOKEN if "." in found[0] else found[0], text) if "eyJ" in text else text


def without_secret_values(text: str) -> str:
    """The text without JWTs, private keys and passwords of URLs, and with `[redacted]` in place of each value
    that stands behind a secret name: an exception's text may repeat a URL with its query, or a dict."""
    if not may_tell(text):
        return text
    text = without_tokens(text)
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _USER.sub(rf"://\1:{REDACTED}@", text)
    text = _USER_TOKEN.sub(f"://{REDACTED}@", text)
    text = _LONG_CODE.sub(rf"\1{REDACTED}", text)
    text = _HEADER.sub(rf"\1\2{REDACTED}", text)
    text = _without_named(text, _NAMED)
    text = _without_named(_without_named(text, _OPTION), _IN_PAIR)
    text = _ELEMENT.sub(lambda found: _group_redacted(found, 1, 2), text)
    text = _ESCAPED_PAIR.sub(lambda found: _group_redacted(found, 2, 4), text)
    return _SCHEME.sub(rf"\1{REDACTED}", text)


def _without_named(text: str, names: "re.Pattern[str]") -> str:
    parts: list[str] = []
    position = 0
    while (found := names.search(text, position)) is not None:
        parts.append(text[position : found.end()])
        position = found.end()
        if is_secret_name(resolved(found[1])):
            end = end_of_value(text, position, found[2] if names is _NAMED else "")
            paired = names is not _IN_PAIR or text[end : end + 2].lstrip()[:1] in (")", "]")
            if end > position and paired and text[position:end] not in _REPLACED:
                parts.append(REDACTED)
                position = end
    return "".join([*parts, text[position:]])


def _group_redacted(found: "re.Match[str]", name: int, value: int) -> str:
    """What was found, with one group redacted if another one is the name of a secret."""
    if not is_secret_name(found[name]) or not found[value].strip() or found[value] in _REPLACED:
        return found[0]
    start = found.start()
    return found[0][: found.start(value) - start] + REDACTED + found[0][found.end(value) - start :]


def resolved(text: str) -> str:
    """The text with the escapes of JSON, URLs and XML resolved: `pass\\u0077ord`, `pass%77ord`, `pass&#119;ord`."""
    if "\\" in text:
        text = _ESCAPES.sub(lambda found: chr(int(found[1], 16)), text)
    if "%" in text:
        text = unquote(text)
    return unescape(text) if "&" in text else text


def first_sign(text: str) -> int | None:
    """Where the first name of a secret, token, or character that is escaped without need begins; None if there is
    none. For texts that cannot be read by their syntax: the value of a name may be anywhere behind it."""
    token = next((found for found in _DOTTED.finditer(text) if "." in found[0]), None)
    signs = [found.start() for found in (token, *(each.search(text) for each in _OTHER_SIGNS)) if found]
    last = min(signs, default=len(text))
    starts: list[int] = []
    end = 0
    for word in _WORD.finditer(text, 0, last):
        near = word.start() - end == 1 and _TOGETHER.match(text, end) is not None
        starts = [*starts[-2:], word.start()] if near else [word.start()]
        end = word.end()
        if any(is_secret_name(text[start:end]) for start in starts):
            return starts[-1] if is_secret_name(word[0]) else starts[0]
    return min(signs, default=None)


_ESCAPED_LETTER = re.compile(
    r"\\u00[4-7]|%[46][1-9a-f]|%[57][0-9a]|&#(?:x[4-7][0-9a-f]|6[5-9]|[789]\d|1[012]\d);", re.IGNORECASE
)

_OTHER_SIGNS = (_ESCAPED_LETTER, _USER, _USER_TOKEN, _SCHEME, _LONG_CODE)
