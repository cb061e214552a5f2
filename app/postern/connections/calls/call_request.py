"""A call as a request: what is sent, and where its run is to be seen. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from postern.authoring.call_result import Outgoing
from postern.call_chain import DEPTH, PARENT
from postern.connections.allowed_urls import POLL
from postern.connections.calls.targets import Target, relative
from postern.connections.retry_transport import RETRY
from postern.settings import NoAuth

if TYPE_CHECKING:
    from postern.authoring.context import Context

NO_RETRY: Mapping[str, Any] = {RETRY: False}
RESULT: Mapping[str, Any] = {RETRY: False, POLL: True}
"""What the transport is told: calls are tried again here, and results are elsewhere at the trigger's origin."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A request as it is sent, again and again if need be; `key` is "" where it has none."""

    method: str
    url: str = field(repr=False)
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: str = field(default="", repr=False)
    keyed: bool = False
    extensions: Mapping[str, Any] = field(default_factory=lambda: NO_RETRY)
    bare: bool = False


def sending_of(ctx: "Context", outgoing: Outgoing, target: Target) -> Sending:
    """The request of a call. Raises ValueError and pydantic's errors for what cannot be sent."""
    content, kind = _content(outgoing.body)
    chain = ctx.request.chain
    headers = {"traceparent": ctx.traceparent, DEPTH: str((chain.depth if chain is not None else 0) + 1)}
    if kind:
        headers["Content-Type"] = kind
    if target.own:
        headers[PARENT] = ctx.run_id
    if not outgoing.wait:
        headers["Prefer"] = "respond-async"
    url, below = target.url, relative(outgoing.path)
    if below:
        path, mark, query = url.partition("?")
        url = path.rstrip("/") + below + mark + query
    key = outgoing.key if target.takes_key or outgoing.own_key else ""
    return Sending(outgoing.method, url, content, headers, key, keyed=bool(key) and target.keyed)


def _content(body: Any) -> tuple[bytes | None, str]:
    """A body as it is sent, with its type."""
    if body is None:
        return None, ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return to_json(body, inf_nan_mode="null"), "application/json"


def link_of(target: Target, run_id: str) -> str:
    """Where the run of another server is to be seen, as far as that is known. An address that opens without a token may
    itself be a secret (a webhook's), and then only its origin is told, and no run's id."""
    parts = urlsplit(target.url)
    if isinstance(target.auth, NoAuth):
        return f"{parts.scheme}://{parts.netloc}"
    return target.runs + run_id if target.runs and run_id else f"{parts.scheme}://{parts.netloc}{parts.path}"
