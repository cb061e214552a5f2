"""`/openapi.json` and `/docs`: the triggers' requests and responses, for callers who may use them.

Callers see the workflows that their token lets them call. Without a token they see the anonymous workflows. An invalid
token gets a 401; it is not treated as an anonymous request.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

import anyio.to_thread
from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import recognise, visible
from postern.api.local_people import TokenCommand
from postern.catalog import Snapshot
from postern.errors import problem
from postern.openapi.docs_page import CONTENT_TYPES, assets, page
from postern.openapi.document import Described
from postern.openapi.operations import operations
from postern.settings.installation import OWN_ADDRESS, Installation
from postern.triggers.reply import ALWAYS, Answer
from postern.triggers.secure_transport import Scope

MAX_KEPT = 32 * 1024 * 1024
"""Bytes of all cached documents. The newest is always kept, of any size."""

POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
JSON_HEADERS = [(b"content-type", b"application/json")]
VARY = (b"vary", b"Authorization")
FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


class Views:
    """The documents of the current catalog, each made once for each set of visible workflows. They are made in a
    thread, one at a time, so that a large catalog does not delay runs."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], installation: Installation, token_command: TokenCommand | None
    ) -> None:
        self._snapshot = snapshot
        self._installation = installation
        self._token_command = token_command
        self._of: Snapshot | None = None
        self._described: Described | None = None
        self._kept: dict[tuple[str, frozenset[str]], bytes] = {}
        self._lock = asyncio.Lock()

    async def view(self, kind: str, see: Callable[[Snapshot], frozenset[str]]) -> bytes:
        """The document ("json") or page ("html") of the workflows that `see` picks from the catalog."""
        snapshot = self._snapshot()
        names = see(snapshot)
        if (found := self._find(snapshot, kind, names)) is not None:
            return found
        async with self._lock:
            if (found := self._find(snapshot, kind, names)) is not None:
                return found
            if self._of is not snapshot:
                self._kept.clear()
                self._described, self._of = None, snapshot
            made = await anyio.to_thread.run_sync(self._make, snapshot, kind, names)
            self._kept[kind, names] = made
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            return made

    def _find(self, snapshot: Snapshot, kind: str, names: frozenset[str]) -> bytes | None:
        return self._kept.get((kind, names)) if self._of is snapshot else None

    def _make(self, snapshot: Snapshot, kind: str, names: frozenset[str]) -> bytes:
        if self._described is None:
            self._described = Described(snapshot.triggers, self._installation)
        document = self._described.document(names)
        if kind == "json":
            return to_json(document, inf_nan_mode="null")
        if self._token_command is None:
            return page(document).encode()
        guarded = [each for each in operations(snapshot.triggers) if each.guarded]
        return page(document, tokens={each.id: self._token_command(each.trigger) for each in guarded}).encode()


class Docs:
    """The pages. `identify` verifies the token of a request (see secure_transport.Identification), `snapshot` returns
    the current catalog. `token_command` is for a local tenant: if it is given, all callers see all workflows, with
    commands that get tokens there."""

    def __init__(
        self,
        installation: Installation,
        identify: Callable[[Scope], Awaitable[Caller]],
        snapshot: Callable[[], Snapshot],
        token_command: TokenCommand | None = None,
    ) -> None:
        self._installation = installation
        self._identify = identify
        self._snapshot = snapshot
        self._open = token_command is not None
        self._views = Views(snapshot, installation, token_command)

    @property
    def pages(self) -> tuple[tuple[str, str, Callable[[Request], Awaitable[Answer]]], ...]:
        """Method, path and page of each."""
        return (
            ("GET", "/openapi.json", self.document),
            ("GET", "/docs", self.page),
            ("GET", "/docs/{asset}", self.asset),
        )

    async def document(self, request: Request) -> Answer:
        """The OpenAPI document."""
        return await self._answer("json", JSON_HEADERS, request)

    async def page(self, request: Request) -> Answer:
        """The HTML page."""
        return await self._answer("html", PAGE_HEADERS, request)

    async def asset(self, request: Request) -> Answer:
        """The stylesheet or the script, whose name changes with its content."""
        name = request.path_params["asset"]
        content = assets().get(name)
        if content is None:
            raise problem("not-found")
        kind = CONTENT_TYPES[name.rpartition(".")[2]].encode()
        headers = [(b"content-type", kind), FOREVER, (b"x-content-type-options", b"nosniff")]
        return Answer(200, [*headers, (b"content-length", str(len(content)).encode())], content)

    async def _answer(self, kind: str, headers: list[tuple[bytes, bytes]], request: Request) -> Answer:
        caller = None if self._open else await self._caller(request)
        content = await self._views.view(kind, lambda snapshot: self._see(snapshot, caller))
        address = _address(request, otherwise="/" if kind == "json" else "")
        content = content.replace(OWN_ADDRESS.encode(), address.encode())
        length = (b"content-length", str(len(content)).encode())
        return Answer(200, [*headers, VARY, length, *ALWAYS], content)

    async def _caller(self, request: Request) -> Caller | None:
        """The caller; None without credentials. Raises Refused or Problem if the credentials are rejected."""
        if all(name != b"authorization" for name, _ in request.scope["headers"]):
            return None
        caller = await self._identify(request.scope)
        recognise(self._installation, (trigger.policy for trigger in self._snapshot().triggers.values()), caller)
        return caller

    def _see(self, snapshot: Snapshot, caller: Caller | None) -> frozenset[str]:
        if self._open:
            return frozenset(snapshot.triggers)
        return visible(self._installation, snapshot.triggers, caller)


def _address(request: Request, otherwise: str) -> str:
    """The address that the request was sent to, if its Host is one that a document may repeat."""
    scheme, hosts = request.scope["scheme"], request.headers.getlist("host")
    plain = scheme in ("http", "https") and len(hosts) == 1 and _HOST.fullmatch(hosts[0])
    return f"{scheme}://{hosts[0]}" if plain else otherwise
