"""Parameters of functions that take a part of the query or a header field, by the names of the request."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from postern.authoring.signature import RequestParameter

HeaderLines = Sequence[tuple[bytes, bytes]]


class Missing(Exception):
    """A parameter that has no default was not sent."""


class NotText(Exception):
    """What was sent for a parameter is not UTF-8."""


MISSING = "Field required"
NOT_TEXT = "is not UTF-8"


def texts_of(parameter: RequestParameter, query: bytes, headers: HeaderLines) -> list[str]:
    """The texts that were sent under the parameter's name. A list in a header is separated by commas, or has several
    fields of the same name: both mean the same (RFC 9110, section 5.3). Raises NotText."""
    if parameter.place == "query":
        pairs = parse_qsl(query.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape")
        texts = [value for name, value in pairs if name == parameter.sent]
        if any(not _is_text(each) for each in texts):
            raise NotText
        return texts
    sent = parameter.sent.encode("ascii")
    values = [value.decode("latin-1").strip() for name, value in headers if name.lower() == sent]
    if not parameter.shape.several:
        return values
    return [each for value in values for part in value.split(",") if (each := part.strip())]


def value_of(parameter: RequestParameter, texts: list[str]) -> Any:
    """The value of a parameter. An empty text for what is no text and has a default counts as left out. Raises Missing,
    ValidationError, and what an author's validator raises."""
    shape = parameter.shape
    if not texts or (texts == [""] and not parameter.required and not shape.text):
        raise Missing
    validator = parameter.validators.usual
    if shape.several:
        return validator.validate_values(texts)
    if len(texts) > 1:
        return validator.validate_values(texts)
    return validator.validate_strings(texts[0])


def read_parameters(
    parameters: Iterable[RequestParameter], query: bytes, headers: HeaderLines, found: dict[str, Any]
) -> Iterator[tuple[RequestParameter, ValidationError | str]]:
    """Put the values of the parameters into `found`. Yields those that do not fit, with the error, or what is wrong
    with one that has no value."""
    for parameter in parameters:
        try:
            found[parameter.name] = value_of(parameter, texts_of(parameter, query, headers))
        except Missing:
            if parameter.required:
                yield parameter, MISSING
        except NotText:
            yield parameter, NOT_TEXT
        except ValidationError as error:
            yield parameter, error


def _is_text(text: str) -> bool:
    """Whether a text is Unicode. Python reads bytes that are not UTF-8 as halves of characters."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
