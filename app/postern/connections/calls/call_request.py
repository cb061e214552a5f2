"""Makes the request of a call, and the link to its run. All functions are pure."""

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
"""Request extensions for the transport: calls are retried here, not there, and a result may be at any path of the
trigger's origin."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A request that can be sent repeatedly. `key` is "" if it has none."""

    method: str
    url: str = field(repr=False)
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: str = field(default="", repr=False)
    keyed: bool = False
    extensions: Mapping[str, Any] = field(default_factory=lambda: NO_RETRY)
    bare: bool = False


def sending_of(ctx: "Context", outgoing: Outgoing, target: Target) -> Sending:
    """The request of a call. Raises ValueError and pydantic's errors for a body or path that cannot be sent."""
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
    """The encoded body and its content type."""
    if body is None:
        return None, ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return to_json(body, inf_nan_mode="null"), "application/json"


def link_of(target: Target, run_id: str) -> str:
    """The page of another server's run, if it is known. A trigger without authentication may have a secret URL (a
    webhook's), so for it the link is the origin only, without a run id."""
    parts = urlsplit(target.url)
    if isinstance(target.auth, NoAuth):
        return f"{parts.scheme}://{parts.netloc}"
    return target.runs + run_id if target.runs and run_id else f"{parts.scheme}://{parts.netloc}{parts.path}"
