"""The pipeline's shortcuts past ASGI, for requests and responses that are sent in one piece."""

from collections.abc import Mapping
from typing import Protocol

EXCHANGE = "postern.exchange"
"""The key of the scope under which the server's own protocol puts the Exchange. Code that uses it takes it out of the
scope: an Exchange that stays there keeps the request in memory in a circle of references."""


class Exchange(Protocol):
    """One request and its answer on the wire. `fields` has the headers by name, or None where a name comes more than
    once."""

    @property
    def fields(self) -> Mapping[bytes, bytes] | None:
        """The headers by name."""

    def digest(self, authorization: bytes) -> bytes:
        """What `identity.bearer.digest_of_field` returns. A connection knows that of its last request."""

    def whole_body(self) -> bytes | None:
        """The body, if it has arrived whole and was not taken yet."""

    def answer_at_once(self, status: int, lines: bytes, content: bytes) -> bool:
        """Send a whole answer with these header lines, or return False where it has to be sent as ASGI messages."""

    def unframed(self) -> None:
        """The answer, of HTTP/1.0, has no length: its end is that of the connection (RFC 9112, section 6.3)."""

    def cut_off(self) -> None:
        """Close the connection in the middle of an answer, so that its reader sees that it was cut."""
