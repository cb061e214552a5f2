"""Replies of workflows at the origin of the console's pages. Pure.

A browser gives all pages of an origin to each of them. So a page that a workflow answers is put into a sandbox: its
scripts run at an origin of their own, without cookies (Content Security Policy Level 3, section 6.3.2).
"""

from collections.abc import Iterable

from postern.media_types import is_inert
from postern.own_cookies import Field, sets_own_cookie

SANDBOX = (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups allow-downloads")
"""It is added to a policy of the author: a browser applies both. It never has `allow-same-origin`."""

_NOT_OF_AUTHORS = frozenset(
    {b"x-content-type-options", b"clear-site-data", b"service-worker-allowed", b"nel", b"report-to", b"alt-svc"}
)
"""Fields that act on the whole origin, or undo what is sent with each reply: of two `X-Content-Type-Options` the first
one counts (Fetch, section 3.5). By `NEL` and `Report-To`, which many sites send and a workflow may pass on, browsers
tell another site each URL of the console that is opened, with its query."""


def on_one_origin(headers: Iterable[Field]) -> list[Field]:
    """The header fields of a workflow's reply, as they are sent beside the console's pages. A reply is sandboxed unless
    it has exactly one Content-Type, with a type that runs nothing in a browser."""
    kept = [field for field in headers if _may_send(*field)]
    types = [value for name, value in kept if name.lower() == b"content-type"]
    if len(types) != 1 or not is_inert(types[0]):
        kept.append(SANDBOX)
    return kept


def _may_send(name: bytes, value: bytes) -> bool:
    field = name.lower()
    return field not in _NOT_OF_AUTHORS and not (field == b"set-cookie" and sets_own_cookie(value))
