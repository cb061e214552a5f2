"""What a document loses when it is converted to a less expressive format."""

from typing import NamedTuple


class Loss(NamedTuple):
    """One part that could not be converted unchanged. `where` is a JSON pointer into the original document (RFC 6901),
    `what` a sentence for the reader of the result."""

    where: str
    what: str


def at(where: str, *parts: object) -> str:
    """The pointer to an inner part."""
    return where + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
