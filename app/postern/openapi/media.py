"""The media types of requests and replies that are not JSON. Pure."""

from typing import Any

from postern.authoring.sent_form import URLENCODED
from postern.authoring.signature import BodyParameter

Json = dict[str, Any]

JSON = "application/json"
MULTIPART = "multipart/form-data"
FORMS = (MULTIPART, URLENCODED)


def media_types_of(body: BodyParameter) -> tuple[str, ...]:
    """The media types that a body may have."""
    if body.form is None:
        return (JSON,)
    return (MULTIPART,) if body.form.files else FORMS


def content_schema(media_type: str) -> Json:
    """The schema of content that is not JSON: text, or bytes."""
    if media_type.startswith("text/"):
        return {"type": "string"}
    return {"type": "string", "format": "binary"}


def first_media(content: Json) -> tuple[str, Json]:
    """The media type that stands for a request or reply, and what is said of it."""
    return next(iter(content.items()))
