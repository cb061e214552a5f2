"""What a document loses on its way into a format that can say less."""

from typing import NamedTuple


class Loss(NamedTuple):
    """One thing that could not be carried over as it was. `where` is a JSON pointer into the document that it was in
    (RFC 6901), `what` a sentence for the reader of the result."""

    where: str
    what: str


def at(where: str, *parts: object) -> str:
    """The pointer to what is further inside."""
    return where + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
