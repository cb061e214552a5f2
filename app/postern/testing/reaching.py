"""What workflows reach in a test: stubs in place of the network, and secrets of the test in place of a Key Vault."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from postern.connections import Connections
from postern.connections.allowed_urls import AllowedUrls
from postern.connections.entry_client import EntryClient
from postern.connections.entry_transport import Caps, EntryTransport
from postern.connections.faults import ConnectionFault
from postern.connections.places import Places
from postern.connections.retry_transport import Retries
from postern.connections.route import DIRECT, Route
from postern.connections.vault.secret import NoSuchSecret, NoSuchVersion, Secret
from postern.connections.vault.vault import Vault
from postern.http_client import URL, AsyncBaseTransport, ConnectError, ReadTimeout, Request, Response
from postern.local_tenant import LocalTenant
from postern.settings import Settings
from postern.testing.failing import KitFailure
from postern.testing.scene import Scene
from postern.testing.stubs import Replied, Sent, Stubs, line_to_paste

Here = Callable[[Request, Any], Awaitable[Response]]
"""Sends a request to a workflow of this project, signed in as its `auth` says."""

WITHHELD = frozenset({"authorization", "proxy-authorization", "cookie"})


class TestVault(Vault):
    """The secrets of the current test, and the keys that the server itself needs, which the local tenant made."""

    __test__ = False  # pytest collects no tests of it

    def __init__(self, tenant: LocalTenant, scene: Callable[[], Scene]) -> None:
        super().__init__(None, None)
        self._tenant = tenant
        self._scene = scene

    async def read(self, name: str) -> Secret:
        """The secret as it is now. Raises NoSuchSecret."""
        value = self._scene().secrets.get(name.lower())
        if value is not None:
            return Secret(name, value, version="of-this-test")
        versions = self._tenant.vault.versions(name)
        if not versions:
            raise NoSuchSecret(f"the secret {name}", "is not set in this test", f'Write secrets["{name}"] = "..."')
        last = versions[-1]
        return Secret(name, last.value, last.expires, last.content_type or "", last.version)

    async def read_again(self, name: str, refused: str) -> Secret:
        """The same."""
        return await self.read(name)

    async def read_now(self, name: str) -> Secret:
        """The same."""
        return await self.read(name)

    async def read_version(self, name: str, version: str) -> Secret:
        """A version of a key of the server itself."""
        for each in self._tenant.vault.versions(name):
            if each.version == version:
                return Secret(name, each.value, each.expires, each.content_type or "", each.version)
        raise NoSuchVersion(f"the secret {name}", "has no version of this name", "Read it without a version")


class StubbedConnections(Connections):
    """Connections whose requests the stubs of the current test reply to. The client of an author is the real one, with
    its checks, limits and retries; only what signs requests, and the network below, are not there."""

    def __init__(
        self,
        settings: Settings,
        authority: str,
        *,
        tenant: LocalTenant,
        scene: Callable[[], Scene],
        here: Here,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._vault_of_test = TestVault(tenant, scene)
        super().__init__(settings, authority, secrets=self._vault_of_test, retries=Retries(sleep=sleep))
        self.vault = self._vault_of_test
        self._scene = scene
        self._here = here
        self._shared_places = Places(100)

    async def secret(self, name: str) -> str:
        """The value of a secret of the test. Without one, the test fails."""
        try:
            return await super().secret(name)
        except NoSuchSecret as fault:
            self._scene().failures.append(KitFailure(f"{fault.entry} {fault.wrong}. {fault.fix}."))
            raise

    def open(
        self,
        entry: str,
        url: str,
        auth: Any,
        *,
        exact: bool = False,
        seconds: float = Caps.seconds,
        response_bytes: int = Caps.response_bytes,
        signer: str = "",
        headers: Mapping[str, Any] | None = None,
        results_at: tuple[str, ...] = (),
        ctx: Any = None,
        route: Route = DIRECT,
    ) -> EntryClient:
        """A client of an entry, whose requests are stubbed."""
        place = AllowedUrls(entry, URL(url), exact, results_at, route.gateway is not None)
        pool = _StubTransport(entry, place, auth, self._scene, self._here)
        transport = EntryTransport(
            entry, place, pool, Caps(seconds, response_bytes), self._retries, self._shared_places
        )
        return EntryClient(transport, None, self.home)

    def sign_in(self, entry: str) -> None:
        """Stubbed requests are not signed."""

    def provider_client(self, entry: str) -> NoReturn:
        """Nobody signs in at a provider in a test."""
        raise ConnectionFault(f"connections.{entry}", "is stubbed in a test", "Declare its replies")


class _StubTransport(AsyncBaseTransport):
    """Takes the place of the network for one entry."""

    def __init__(self, entry: str, place: AllowedUrls, auth: Any, scene: Callable[[], Scene], here: Here) -> None:
        of, _, name = entry.partition(" ")[0].partition(".")
        self._of, self._name = (of, name) if name else ("triggers", entry.partition(" ")[2].partition(" ")[0])
        self._own = not name  # "workflow NAME": one of this project
        self._place = place
        self._auth = auth
        self._scene = scene
        self._here = here

    async def handle_async_request(self, request: Request) -> Response:
        """The stubbed reply. Without a stub, the test fails; a workflow of this project is called."""
        scene = self._scene()
        stubs: Stubs = (scene.triggers if self._of == "triggers" else scene.connections)[self._name]
        sent = await self._sent(request)
        if self._own and not stubs.declared:
            stubs.calls.append(sent)
            return await self._here(request, self._auth)
        found = stubs.answer(sent)
        if found is None:
            line = line_to_paste(self._of, self._name, sent)
            failure = KitFailure(
                f"The workflow sent {sent.method} {sent.path or '/'} to {self._of}.{self._name}, and the test has no "
                f"reply for it. Paste this before the call, with the reply:\n\n    {line}\n"
            )
            scene.failures.append(failure)
            raise failure
        return _response(found, request)

    async def _sent(self, request: Request) -> Sent:
        url = request.url
        base = self._place.url.path.rstrip("/")
        path = url.path.removeprefix(base) if self._of == "connections" else url.path.removeprefix(self._place.url.path)
        headers = {name: value for name, value in request.headers.items() if name not in WITHHELD}
        return Sent(request.method, path, dict(url.params), headers, await request.aread())


def _response(found: Replied, request: Request) -> Response:
    if found.error == "connect":
        raise ConnectError("the test says that it cannot be reached", request=request)
    if found.error:
        raise ReadTimeout("the test says that it is too slow", request=request)
    return Response(found.status, headers=dict(found.headers), content=found.body)
