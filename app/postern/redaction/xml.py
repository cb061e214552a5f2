"""XML without secrets: elements and attributes under secret names, and the values beside a name, as in
`<add key="password" value="abc"/>` and `<key>password</key><string>abc</string>`.
"""

from html import escape  # not that of xml.sax.saxutils, which loads an HTTP client
from typing import Any
from xml.parsers import expat

from postern.redaction.names import is_secret_name
from postern.redaction.texts import REDACTED, without_secret_values
from postern.redaction.unreadable import Unreadable
from postern.redaction.values import NAMING, names_secret


def xml_without_secrets(text: str) -> str:
    """XML text without secrets; unchanged if there are none. Raises Unreadable for what is not well-formed, and for
    documents that define entities, which can hold anything and grow without bound."""
    rewritten = _Rewritten()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = rewritten.start
    parser.EndElementHandler = rewritten.end
    parser.CharacterDataHandler = rewritten.text
    parser.CommentHandler = rewritten.comment
    parser.ProcessingInstructionHandler = rewritten.instruction
    parser.EntityDeclHandler = _entity
    try:
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise Unreadable(type(error).__name__) from None
    return "".join(rewritten.parts) if rewritten.changed else text


_NAMING = NAMING | {"dt", "td", "th"}
"""Elements whose text names the next element."""


_IN_ATTRIBUTES = str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})


def _quoted(value: str) -> str:
    return f'"{escape(value, quote=False).translate(_IN_ATTRIBUTES)}"'


def _entity(*_: Any) -> None:
    raise Unreadable("defines entities")


def _local(name: str) -> str:
    return name.rpartition(":")[2]


class _Rewritten:
    """The document as it is written again. `changed` says whether anything was redacted."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.changed = False
        self._hidden = 0  # open elements, from one with a secret name on
        self._names = ""  # the text of an element that names the next one
        self._next = False

    def start(self, name: str, attributes: list[str]) -> None:
        if self._hidden:
            self._hidden += 1
            return
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        named = any(names_secret(_local(key), value) for key, value in pairs)
        shown = "".join(f" {key}={_quoted(self._attribute(key, value, named=named))}" for key, value in pairs)
        self.parts.append(f"<{name}{shown}>")
        if named or self._next or is_secret_name(_local(name)):
            self._hidden = 1
        self._next, self._names = False, ""

    def _attribute(self, key: str, value: str, *, named: bool) -> str:
        if value and (is_secret_name(_local(key)) or (named and _local(key).lower() not in NAMING)):
            self.changed = True
            return REDACTED
        return self._clean(value)

    def _clean(self, text: str) -> str:
        bare = without_secret_values(text)
        self.changed = self.changed or bare != text
        return bare

    def end(self, name: str) -> None:
        if self._hidden > 1:
            self._hidden -= 1
            return
        self._hidden = 0
        self._next = _local(name).lower() in _NAMING and is_secret_name(self._names.strip())
        self._names = ""
        self.parts.append(f"</{name}>")

    def text(self, text: str) -> None:
        if not self._hidden:
            self._names += text
            self.parts.append(escape(self._clean(text), quote=False))
        elif not text.isspace():
            self.changed = True
            if self.parts[-1] != REDACTED:
                self.parts.append(REDACTED)

    def comment(self, text: str) -> None:
        if not self._hidden:
            self.parts.append(f"<!--{self._clean(text)}-->")

    def instruction(self, target: str, text: str) -> None:
        if not self._hidden:
            self.parts.append(f"<?{target} {self._clean(text)}?>")
