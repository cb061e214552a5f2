"""What code of authors hands over, without its code: plain values of Python.

A subclass of `str`, a property or a metaclass may run code of its author wherever it is used later: in the event loop,
in the log, or in the process that writes records, which cannot load it."""

from operator import index
from typing import Any

from pydantic_core import from_json, to_json

from postern.errors import Headers, Problem, checked_headers

_FIRST, _LAST = 200, 599
_NAME_OF_TYPE = type.__dict__["__name__"]


def plain_text(value: object) -> str:
    """The characters of a string, whatever its class. "" if it is none."""
    return str.__str__(value) if issubclass(type(value), str) else ""


def plain_bytes(value: bytes) -> bytes:
    """The bytes, whatever their class."""
    return value if type(value) is bytes else bytes.__getitem__(value, slice(None))


def type_name(value: object) -> str:
    """The name of a value's class, whatever its metaclass says."""
    return plain_text(_NAME_OF_TYPE.__get__(type(value)))


def text_of(value: object) -> str:
    """`str(value)`. "" if that fails, in whatever way."""
    try:
        return plain_text(str(value))
    except BaseException:
        return ""


def plain_status(value: Any) -> int:
    """The status of a reply. Raises an exception if it cannot be sent."""
    status = int.__add__(index(value), 0)
    if not _FIRST <= status <= _LAST:
        raise ValueError(f"{status} is not a status that a workflow may send")
    return status


def plain_headers(headers: Headers) -> Headers:
    """Header fields, checked as they are sent: an author may have changed them since they were checked. Raises an
    exception if they cannot be sent."""
    if not headers:
        return {}
    return {plain_text(name): _values(value) for name, value in checked_headers(headers).items()}


def plain_problem(shown: Problem) -> Problem:
    """A copy of a problem that an author may have made, with values only. Raises any exception if it cannot be shown.
    The server's own problems are returned as they are."""
    if type(shown) is Problem and not shown.members and not shown.headers and _is_plain(shown):
        return shown
    document = from_json(to_json(shown.document(""), inf_nan_mode="null", serialize_unknown=True))
    known = {name: document.pop(name) for name in ("type", "title", "status", "code", "detail", "request_id")}
    made = Problem(plain_status(shown.status), _written(known["detail"]), reason=plain_text(shown.reason))
    made.code, made.title, made.members = _written(known["code"]), _written(known["title"]), document
    made.__cause__ = shown.__cause__
    closes = type(shown) is Problem and shown.headers.get("Connection") == "close"  # the server's own may say so
    others = {name: value for name, value in shown.headers.items() if not closes or name != "Connection"}
    made.headers = {**plain_headers(others), **({"Connection": "close"} if closes else {})}
    return made


def _is_plain(shown: Problem) -> bool:
    texts = type(shown.code) is type(shown.detail) is type(shown.reason) is type(shown.title) is str
    return texts and type(shown.status) is int and 400 <= shown.status <= _LAST


def _written(value: Any) -> str:
    """A value of JSON as text: an author may give another one than a string."""
    return value if isinstance(value, str) else to_json(value).decode()


def _values(value: str | list[str] | tuple[str, ...]) -> str | list[str]:
    return plain_text(value) if isinstance(value, str) else [plain_text(each) for each in value]
