"""Text that others wrote, safe to show in a terminal, a log, a page or a document.

Characters that no reader sees, but that control a terminal, break a line, or reverse, join or hide text, become their
codes (CWE-117; Unicode Technical Report 36, section 2.10). Everything else stays as it is, in every script.
"""

import re

_RANGES = (
    "\x00-\x1f\x7f-\x9f",  # C0, DEL and C1
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e",  # format characters: hyphens, marks of direction
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f",  # zero width, separators of lines, direction of text
    "\ud800-\udfff",  # halves of surrogate pairs
    "\ufeff\ufff0-\ufffb\ufffe\uffff",
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff",
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0",  # letters and marks without a glyph
)
_JOINED = "[\u0600-\u1fff\ufe0f\u2600-\u27bf\U0001f000-\U0001faff]"
_JOINERS = f"[\u200c\u200d](?!{_JOINED})|(?<!{_JOINED})[\u200c\u200d]"
"""Between letters of such scripts, or emoji, they belong to the spelling, as in Persian. Elsewhere they hide text."""
_HIDDEN = re.compile(f"[{''.join(_RANGES)}]|{_JOINERS}")
_HIDDEN_BUT_LINES = re.compile(f"(?![\n\t])[{''.join(_RANGES)}]|{_JOINERS}")


def plain(text: str, *, lines: bool = False) -> str:
    """The text with each hidden character as its code: `\\x1b`, and above 0x7e as JSON writes it, `\\u202e`. So a JSON
    document stays the same document. `lines` keeps line breaks and tabs."""
    usual = text.replace("\n", "").replace("\t", "") if lines else text
    if usual.isascii() and usual.isprintable():
        return text
    return (_HIDDEN_BUT_LINES if lines else _HIDDEN).sub(_code, text)


def _code(found: "re.Match[str]") -> str:
    number = ord(found[0])
    if number < 0x20:
        return f"\\x{number:02x}"
    if number < 0x10000:
        return f"\\u{number:04x}"
    return f"\\u{0xD7C0 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
