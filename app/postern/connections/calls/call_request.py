"""Makes the request of a call, and the link to its run. All functions are pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from postern.authoring.call_result import CallMistake, Outgoing
from postern.call_chain import DEPTH, PARENT
from postern.connections.allowed_urls import POLL
from postern.connections.calls.call_response import is_signed
from postern.connections.calls.targets import Target, relative
from postern.connections.entry_transport import LEVEL
from postern.connections.places import level_of
from postern.connections.retry_transport import RETRY
from postern.http_client import BY, SentBy
from postern.settings import NoAuth

if TYPE_CHECKING:
    from postern.authoring.context import Context


@dataclass(frozen=True, slots=True)
class Sending:
    """A request of the run `run_id` that can be sent repeatedly. `key` is "" if it has none. `level` decides when it
    gets a connection. The result of another request (`poll`) may be at any path of the trigger's origin. `bare`: it is
    not signed. `sent_by` gets the gateway and the agent by which it is sent."""

    method: str
    url: str = field(repr=False)
    content: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    level: int
    run_id: str = field(repr=False)
    key: str = field(default="", repr=False)
    keyed: bool = False
    poll: bool = False
    bare: bool = False
    sent_by: SentBy = field(default_factory=SentBy)

    def look(self, location: str, *, elsewhere: bool) -> "Sending":
        """The request for the later result of this one. The credential is not for an origin `elsewhere`, and Logic Apps
        takes no token beside a signature."""
        bare = elsewhere or is_signed(location)
        return replace(self, method="GET", url=location, content=None, key="", keyed=False, poll=True, bare=bare)

    @property
    def extensions(self) -> dict[str, Any]:
        """The request's extensions, for the transport. Calls are retried here, not there."""
        return {RETRY: False, LEVEL: self.level, POLL: self.poll, BY: self.sent_by}


def sending_of(ctx: "Context", outgoing: Outgoing, target: Target) -> Sending:
    """The request of a call. Raises CallMistake for a body or path that cannot be sent."""
    try:
        content, kind = _content(outgoing.body)
    except Exception as error:
        text = f"{target.entry}: body= cannot be written as JSON ({type(error).__name__})."
        raise CallMistake(target.entry, text) from error
    depth = (ctx.chain.depth if ctx.chain is not None else 0) + 1
    headers = {"traceparent": ctx.traceparent, DEPTH: str(depth)}
    if ctx.tracestate:
        headers["tracestate"] = ctx.tracestate
    if kind:
        headers["Content-Type"] = kind
    if target.own:
        headers[PARENT] = ctx.run_id
    if not outgoing.wait:
        headers["Prefer"] = "respond-async"
    try:
        below = relative(outgoing.path)
    except ValueError as error:
        raise CallMistake(target.entry, f"{target.entry}: {error}") from None
    url = target.url
    if below:
        path, mark, query = url.partition("?")
        url = path.rstrip("/") + below + mark + query
    key = outgoing.key if target.takes_key or outgoing.own_key else ""
    keyed = bool(key and target.keyed)
    return Sending(outgoing.method, url, content, headers, level_of(depth), ctx.run_id, key, keyed=keyed)


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
