"""A vault that can be away, slow or full, and clocks that are moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from postern.connections.vault.vault import Vault
from postern.local_tenant import LocalTenant, serve


@dataclass
class Hand:
    """Seconds, moved by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Front:
    """Stands before the local tenant's application: counts what comes in, and answers in its place what the test says.

    `answer` is a status and headers for requests below `below`; `hangs` leaves them without an answer, and `hanging`
    is how many have arrived and have none yet."""

    app: ASGIApp
    tokens: int = 0
    reads: list[str] = field(default_factory=list)
    answer: tuple[int, dict[str, str]] | None = None
    body: bytes = b"{}"
    below: str = "/secrets/"
    hangs: bool = False
    hanging: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.endswith("/oauth2/v2.0/token"):
            self.tokens += 1
        if path.startswith("/secrets/") and any(name == b"authorization" for name, _ in scope["headers"]):
            self.reads.append(path.split("/")[2])
        if not path.startswith(self.below) and self.below not in path:
            await self.app(scope, receive, send)
            return
        self.hanging += 1
        while self.hangs:
            await asyncio.sleep(0.01)
        self.hanging -= 1
        if self.answer is None:
            await self.app(scope, receive, send)
            return
        status, headers = self.answer
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": self.body})

    def works(self) -> None:
        """As the tenant answers by itself, with nothing counted."""
        self.tokens, self.reads = 0, []
        self.answer, self.body, self.below, self.hangs = None, b"{}", "/secrets/", False


@dataclass
class Fronted:
    """A tenant of this folder's tests, and what stands before it."""

    tenant: LocalTenant
    front: Front


@pytest.fixture(scope="module")
def fronted_tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    """A local tenant behind a front, started once for a module."""
    import postern.local_tenant.app as served

    fronts: list[Front] = []
    create = served.create_app

    def create_behind(*arguments: Any) -> Front:
        fronts.append(Front(create(*arguments)))
        return fronts[0]

    tenant = LocalTenant.open(tmp_path_factory.mktemp("fronted") / "local-tenant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "create_app", create_behind)
        with serve(tenant):
            yield Fronted(tenant, fronts[0])


@pytest.fixture
def fronted(fronted_tenant: Fronted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fronted]:
    """The same as if it were new, with the credential of its application for Postern in the environment."""
    fronted_tenant.front.works()
    tenant = fronted_tenant.tenant
    monkeypatch.setenv("AZURE_TENANT_ID", tenant.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", tenant.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", tenant.client_secret("postern"))
    yield fronted_tenant
    fronted_tenant.front.works()


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
async def vault(fronted: Fronted, hand: Hand) -> AsyncIterator[Vault]:
    """The vault of the fronted tenant."""
    opened = vault_of(fronted.tenant, hand)
    yield opened
    await opened.aclose()


def vault_of(tenant: LocalTenant, clock: Hand, **more: Any) -> Vault:
    given: dict[str, Any] = {"authority": tenant.authority, "ca_bundle": tenant.ca_bundle, "clock": clock} | more
    return Vault(tenant.key_vault_url, "client_secret", **given)
