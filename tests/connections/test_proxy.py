"""Every call out goes through the proxy of the settings: APIs, token endpoints, Entra, Key Vault and signing keys."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trustme
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncioRequestsTransport, RequestsTransport

from postern.access import ANYONE
from postern.assembly.identity import identity_part
from postern.authoring.call_result import CallError
from postern.authoring.context import Context, Services
from postern.authoring.request import Request as PostedRequest
from postern.azure_clients import own_credential, secret_client
from postern.connections import ConnectionFault, Connections
from postern.connections.auth.entra import EntraSignIn
from postern.connections.calls.calls import Calls
from postern.connections.direct_trial import connected
from postern.http_client import USER_AGENT, ConnectError
from postern.identity import tenant
from postern.passwordless import entra_sign_in
from postern.passwordless.database_url import DatabaseUrl
from postern.proxy import Proxy
from postern.settings import EntraAuth, SecretReference, Settings, load_settings
from tests.connections.counterparts import Waits, always, listening
from tests.connections.token_server import Kept

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ID = "aaaaaaaa-0000-4000-8000-000000000001"


@dataclass
class Tunnel:
    """A proxy on loopback. It connects all hosts to `port`, or rejects them with `status`."""

    port: int = 0
    status: int = 200
    own_port: int = 0
    asked: list[str] = field(default_factory=list)
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.own_port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            writer.write(f"HTTP/1.1 {self.status} planted\r\n\r\n".encode())
            if self.status == 200:
                there = await asyncio.open_connection("127.0.0.1", self.port)
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self.serving.discard(asyncio.current_task())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
    writer.close()


@asynccontextmanager
async def tunnelling(status: int = 200, port: int = 0) -> AsyncIterator[Tunnel]:
    tunnel = Tunnel(port, status)
    async with await asyncio.start_server(tunnel.serve, "127.0.0.1", 0) as server:
        tunnel.own_port = server.sockets[0].getsockname()[1]
        yield tunnel
        async with asyncio.timeout(10):
            while tunnel.serving:
                await asyncio.sleep(0)


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    def load(tunnel: Tunnel, **more: Any) -> Settings:
        return load_settings({}, folder=tmp_path, defaults={"proxy": tunnel.url, **more})

    return load


def connections_of(settings: Settings) -> Connections:
    return Connections(settings, "https://login.example", retries=Waits().retries())


API = {"base_url": "https://api.example/v1", "auth": {"type": "none"}}


async def test_a_connection_goes_through_the_proxy_over_tls_with_the_other_side(settings_of: Any, tmp_path: Path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example").configure_cert(context)
    async with listening(always(200, b"ok"), context) as api, tunnelling(port=api.port) as tunnel:
        settings = settings_of(tunnel, ca_bundle=str(tmp_path / "ca.pem"), connections={"api": API})
        connections = connections_of(settings)
        assert (await connections.client("api").get("/x")).text == "ok"
        await connections.aclose()
        assert tunnel.asked == ["CONNECT api.example:443 HTTP/1.1"]
        stage = await connected("https://api.example/x", "triggers.t", tmp_path / "ca.pem", settings.way_out)
        assert (stage.passed, len(tunnel.asked), len(api.received)) == (True, 2, 1)


@pytest.mark.parametrize("direct", ["127.0.0.1", "api.example"])
async def test_this_machine_and_named_hosts_are_called_directly(settings_of: Any, direct: str):
    async with listening(always(200, b"ok")) as api, tunnelling() as tunnel:
        entry = {**API, "base_url": api.url if direct == "127.0.0.1" else "https://api.example"}
        settings = settings_of(tunnel, connections={"api": entry}, no_proxy=direct)
        connections = connections_of(settings)
        with suppress(ConnectError):  # there is no host api.example
            await connections.client("api").get("/x")
        await connections.aclose()
        assert tunnel.asked == []


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_rejects_is_named_without_its_own_text(settings_of: Any, status: int):
    async with tunnelling(status) as tunnel:
        connections = connections_of(settings_of(tunnel, connections={"api": API}))
        with pytest.raises(
            ConnectError, match=rf"the proxy of POSTERN_PROXY rejected the connection \({status}\)"
        ) as e:
            await connections.client("api").post("/x")
        assert "planted" not in str(e.value)
        await connections.aclose()
        proxy = Proxy(tunnel.url)
        stage = await connected("https://api.example/x", "triggers.t", None, proxy)
        assert not stage.passed
        assert stage.detail == f"no connection: the proxy of POSTERN_PROXY answered {status}"
        assert ("signs in at no proxy" if status == 407 else "POSTERN_NO_PROXY") in stage.fix


SECRET = {"key_vault": "a-secret"}
OAUTH2 = {"type": "oauth2", "token_url": "https://token.example/t", "client_id": "c", "client_secret": SECRET}


async def test_key_vault_and_its_sign_in_go_through_the_proxy(settings_of: Any, monkeypatch: pytest.MonkeyPatch):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, ID)
    async with tunnelling(403) as tunnel:
        vault = {"key_vault_url": "https://a.vault.azure.net", "azure_credential": "client_secret"}
        connections = connections_of(settings_of(tunnel, connections={"api": {**API, "auth": OAUTH2}}, **vault))
        monkeypatch.setattr("postern.connections.vault.vault.RETRIES", 0)
        with pytest.raises(ConnectionFault):
            await connections.client("api").get("/x")
        await connections.aclose()
        assert set(tunnel.asked) == {"CONNECT a.vault.azure.net:443 HTTP/1.0"}
        tunnel.asked.clear()
        async with own_credential("client_secret", "https://login.example", None, Proxy(tunnel.url)) as credential:
            with pytest.raises(ServiceRequestError):
                await credential.get_token("https://vault.azure.net/.default", retry_total=0)
        assert set(tunnel.asked) == {"CONNECT login.example:443 HTTP/1.0"}


async def test_token_endpoints_and_entra_go_through_the_proxy(settings_of: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    async with tunnelling(403) as tunnel:
        settings = settings_of(tunnel, authority="https://login.example", connections={"api": API})
        connections = connections_of(settings)
        assert connections.context.proxy == settings.way_out
        with pytest.raises(ConnectError):
            await connections.context.http.post("https://token.example/t")
        context = replace(connections.context, secrets=Kept({"a": "s"}))
        auth = EntraAuth(client_id=ID, tenant_id=ID, client_secret=SecretReference(key_vault="a"), audience="a")
        with pytest.raises(ConnectionFault):
            await EntraSignIn("connections.api", auth, context).credential()
        await connections.aclose()
        assert {line.split(" ")[1] for line in tunnel.asked} == {"token.example:443", "login.example:443"}


async def test_signing_keys_are_fetched_through_the_proxy(settings_of: Any):
    async with tunnelling(403) as tunnel:
        part = identity_part(settings_of(tunnel))
        part.identity.serve([tenant(ID, "public", "https://login.example")])
        assert part.life is not None
        async with part.life(), asyncio.timeout(10):
            fetching = asyncio.create_task(part.identity.run())
            while not tunnel.asked:
                await asyncio.sleep(0)
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        assert tunnel.asked[0] == "CONNECT login.example:443 HTTP/1.1"


def test_the_database_s_sign_in_has_the_proxy(settings_of: Any):
    url = "postgresql://a@db.example/postern?sslmode=verify-full&passwordless=entra"
    settings = settings_of(Tunnel(own_port=9), database_url=url, azure_credential="client_secret", no_proxy="x.example")
    assert isinstance(settings.database_url, DatabaseUrl)
    assert settings.database_url.passwordless.proxy == Proxy("http://127.0.0.1:9", ("x.example",))
    sent: Any = settings.database_url.__reduce__()  # as the writer's process gets it
    assert sent[0](*sent[1]).passwordless.proxy == settings.way_out


def test_the_database_s_transport_uses_it(monkeypatch: pytest.MonkeyPatch):
    sent: list[Any] = []
    monkeypatch.setattr(RequestsTransport, "send", lambda _, request, **options: sent.append(options))
    made = entra_sign_in._Transport(Proxy("http://proxy.example", ("direct.example",)))
    for url in ("https://login.example/x", "https://direct.example/x", "http://169.254.169.254/metadata"):
        made.send(SimpleNamespace(url=url))
    assert [options.get("proxies", {}).get("https") for options in sent[:2]] == ["http://proxy.example", None]


async def test_requests_to_entra_and_key_vault_name_the_product(monkeypatch: pytest.MonkeyPatch):
    agents: list[str] = []

    async def send(_: Any, request: Any, **__: Any) -> None:
        agents.append(request.headers["User-Agent"])
        raise ServiceRequestError("no network here")

    monkeypatch.setattr(AsyncioRequestsTransport, "send", send)
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, ID)
    async with own_credential("client_secret", "https://login.example", None) as credential:
        with pytest.raises(ServiceRequestError):
            await credential.get_token("https://vault.azure.net/.default", retry_total=0)
        async with secret_client("https://a.vault.azure.net", credential, None) as client:
            with pytest.raises(ServiceRequestError):
                await client.get_secret("a", retry_total=0)
    assert len(agents) >= 2
    assert all(agent.startswith(f"{USER_AGENT} ") for agent in agents)


CAUSES = {403: "Let the proxy of POSTERN_PROXY connect", 407: "signs in at no proxy", 0: "Check that POSTERN_PROXY is"}


@pytest.fixture
def api_error(settings_of: Any) -> Callable[..., Awaitable[str]]:
    """The text of the error of one kind of call through a proxy."""

    async def error(tunnel: Tunnel, kind: str, ca_bundle: Path | None = None) -> str:
        oauth2 = {**API, "auth": OAUTH2}
        vault = {"key_vault_url": "https://a.vault.azure.net", "azure_credential": "client_secret"}
        entries = {"connections": {"api": API, "token": oauth2}, "triggers": {"t": {"url": "https://api.example/x"}}}
        bundle = {"ca_bundle": str(ca_bundle)} if ca_bundle else {}
        settings = settings_of(tunnel, authority="https://login.example", **vault, **entries, **bundle)
        kept = None if kind == "key vault" else Kept({"a-secret": "s"})
        connections = Connections(settings, "https://login.example", secrets=kept, retries=Waits().retries())
        calls = Calls(settings, dict, connections.open, lambda *_: None, sleep=Waits().sleep)
        services = Services(connections.secret, connections.of_run, structlog.get_logger(), call=calls.call)
        ctx = Context(PostedRequest("POST", "/triggers/x"), ANYONE, "run-1", "x", services)
        auth = EntraAuth(client_id=ID, tenant_id=ID, client_secret=SecretReference(**SECRET), audience="a")
        made: dict[str, Callable[[], Awaitable[Any]]] = {
            "connection": lambda: ctx.connection("api").post("/x"),
            "call": lambda: ctx.call("t", {}),
            "token endpoint": lambda: ctx.connection("token").get("/x"),
            "key vault": lambda: ctx.secret("a-secret"),
            "entra": lambda: EntraSignIn("connections.api", auth, connections.context).credential(),
        }
        try:
            with pytest.raises((ConnectError, CallError, ConnectionFault)) as caught:
                await made[kind]()
        finally:
            calls.close()
            await connections.aclose()
        return str(caught.value)

    return error


@pytest.mark.parametrize("status", CAUSES)
@pytest.mark.parametrize("kind", ["connection", "call", "token endpoint", "key vault", "entra"])
async def test_each_error_says_that_the_proxy_is_the_cause_and_what_to_do_there(
    api_error: Any, monkeypatch: pytest.MonkeyPatch, kind: str, status: int
):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, ID)
    monkeypatch.setattr("postern.azure_clients.RETRIES", 0)
    monkeypatch.setattr("postern.connections.vault.vault.RETRIES", 0)
    async with tunnelling(status) as tunnel:
        tunnel.own_port = tunnel.own_port if status else 1
        text = await api_error(tunnel, kind)
    assert CAUSES[status] in text
    assert "planted" not in text


@pytest.mark.parametrize("kind", ["connection", "call", "token endpoint"])
async def test_a_certificate_that_is_not_trusted_names_the_setting_for_it(api_error: Any, kind: str):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("api.example", "token.example").configure_cert(context)
    async with listening(always(), context) as there, tunnelling(port=there.port) as tunnel:
        text = await api_error(tunnel, kind)
    assert "POSTERN_CA_BUNDLE" in text
    assert "Check that" not in text


CERTIFICATES = {"name": "is for another host", "expired": "has expired: have it renewed", "early": "set the clock"}


@pytest.mark.parametrize("kind", ["connection", "call", "token endpoint", "key vault", "entra", "connection test"])
@pytest.mark.parametrize("wrong", CERTIFICATES)
async def test_a_certificate_that_is_wrong_itself_is_not_taken_for_one_of_a_private_authority(
    api_error: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, wrong: str
):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, ID)
    for at in ("azure_clients", "connections.vault.vault"):
        monkeypatch.setattr(f"postern.{at}.RETRIES", 0)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    hosts = ("api.example", "token.example", "login.example", "a.vault.azure.net")
    now = datetime.now(UTC)
    dates: dict[str, Any] = {
        "name": {},
        "expired": {"not_before": now - timedelta(9), "not_after": now - timedelta(1)},
        "early": {"not_before": now + timedelta(1), "not_after": now + timedelta(9)},
    }
    authority.issue_cert(*(hosts if dates[wrong] else ["other.example"]), **dates[wrong]).configure_cert(context)
    async with listening(always(), context) as there, tunnelling(port=there.port) as tunnel:
        if kind == "connection test":
            stage = await connected("https://api.example/x", "triggers.t", tmp_path / "ca.pem", Proxy(tunnel.url))
            text = stage.fix
        else:
            text = await api_error(tunnel, kind, tmp_path / "ca.pem")
    assert CERTIFICATES[wrong] in text
    assert "POSTERN_CA_BUNDLE" not in text


@pytest.mark.parametrize("direct", ["vault.example", "vault.example.", ".example", "*.example.", "Vault.Example"])
def test_a_host_without_the_proxy_is_meant_with_and_without_its_last_dot(direct: str):
    assert not any(Proxy("http://p", (direct,)).carries(host) for host in ("vault.example", "vault.example."))
    assert Proxy("http://p", (direct,)).carries("vaultxexample")
