"""The request that triggered a run, as its author sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, QueryParams

from postern.call_chain import Chain
from postern.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
BESIDES = frozenset({"HEAD", "OPTIONS"})
"""Methods with which senders look at a URL before they use it."""

_NONE: Any = None
"""The default of what few requests have: kept by the class, so that making a request costs nothing for it."""


@dataclass(eq=False)  # not frozen: each request makes one, and freezing costs more than the rest of it
class Request:
    """The request that triggered the run, as its author sees it.

    `path_parameters` are the strings between the slashes; the function's own parameters get them converted. `body` is
    the body, byte for byte; b"" for a form of `multipart/form-data` that the function gets as a parameter. On an
    authenticated trigger `headers` has neither Authorization nor cookies, else no cookie of the console. `trace` is the
    request's `traceparent`, None if there was no valid one. `chain` is its place in a chain of calls, None if it is not
    a call of a run.
    """

    method: str
    path: str
    path_parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_address: str = ""
    body: bytes = field(default=b"", repr=False)
    query_string: bytes = field(default=b"", repr=False)
    _raw_headers: "Sequence[tuple[bytes, bytes]]" = field(default=(), repr=False)
    _withheld: frozenset[bytes] = field(default=frozenset(), repr=False)
    content_type: str = ""
    trace: Trace | None = field(default=None, repr=False)
    chain: Chain | None = field(default=None, repr=False)
    _form = _NONE  # what its body was if the workflow takes a form with files
    _via = _NONE  # through what it came (access.Via) if not to the trigger's URL
    _prefer = b""  # what the field Prefer says (RFC 7240); set where there is one

    def copy(self) -> "Request":
        """The same request, for code that may change it."""
        made = Request.__new__(Request)
        made.__dict__.update(self.__dict__, path_parameters=dict(self.path_parameters))
        return made

    @cached_property
    def headers(self) -> Headers:
        """The header fields, looked up without regard to case."""
        return Headers(raw=[each for each in self._raw_headers if each[0] not in self._withheld])

    @cached_property
    def query(self) -> QueryParams:
        """The parameters of the query string; `getlist(name)` returns all of one name."""
        return QueryParams(self.query_string)

    @property
    def text(self) -> str:
        """The body as text in UTF-8. Bytes that are not valid UTF-8 become U+FFFD."""
        return self.body.decode("utf-8", "replace")
