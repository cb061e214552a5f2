"""Entries that are reached by a gateway, over real sockets and TLS. The tunnels are those of a fake gateway, which
keeps the contract of a real one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme

from postern.authoring.call_result import CallError
from postern.connections import ConnectionFault, Connections
from postern.connections.by_gateway import UNKNOWN, words
from postern.connections.calls.failures import failed
from postern.connections.calls.targets import Targets
from postern.connections.vault.secret import Secret
from postern.http_client import BY, AgentLost, ConnectError, NotOpened, ReadTimeout, SentBy
from postern.settings import load_settings
from postern.tunnels import Reason, TunnelRefused, one_agent_wait
from tests.connections.counterparts import Answer, Counterpart, Received, Waits, always, listening, reply
from tests.gateway.contract import AGENT, GATEWAY, HOST, PORT
from tests.gateway.fake_gateway import FakeGateway
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGENTS = {GATEWAY: {"agents": ["c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2"]}}
NONE = {"type": "none"}


class _Secrets:
    async def read(self, name: str) -> Secret:
        return Secret(name, "a-value")

    async def read_again(self, name: str, refused: str) -> Secret:
        return Secret(name, "a-value")


@dataclass
class Site:
    """A private system, and the connections that reach it by a gateway."""

    gateway: FakeGateway
    system: Counterpart
    connections: Connections
    waits: Waits

    def client(self, name: str = "erp") -> Any:
        return self.connections.client(name)


@cache
def _authority() -> trustme.CA:
    """One for all tests: a file's authorities are read once."""
    return trustme.CA()


@asynccontextmanager
async def site(
    folder: Path, answer: Answer, *, host: str = HOST, plain: bool = False, **entry: Any
) -> AsyncIterator[Site]:
    """The site whose certificate is for `host`."""
    authority = _authority()
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    given = {"gateway": GATEWAY, "auth": NONE, "base_url": f"https://{HOST}/api", "ca_bundle": "ca.pem"} | entry
    erp = {key: value for key, value in given.items() if value is not None}
    settings = load_settings({}, folder=folder, defaults={"gateways": AGENTS, "connections": {"erp": erp, "wms": erp}})
    waits = Waits()
    connections = Connections(settings, "", secrets=_Secrets(), retries=waits.retries())
    async with listening(answer, None if plain else context) as system:
        fake = FakeGateway({(HOST, PORT): system.port, (HOST, 8080): system.port})
        connections.open_tunnel = fake.open
        try:
            yield Site(fake, system, connections, waits)
        finally:
            await connections.aclose()


async def test_a_request_goes_through_a_tunnel_with_tls_to_the_other_side(tmp_path: Path):
    async with site(tmp_path, always(200, b"here")) as there:
        sent_by = SentBy()
        response = await there.client().get("items", extensions={BY: sent_by})
        assert (response.status_code, response.content) == (200, b"here")
        assert there.system.targets == ["/api/items"]
        assert there.system.received[0].header("host") == HOST
        assert there.gateway.opened == [(GATEWAY, HOST, PORT, "connections.erp", False, 10.0)]
        assert sent_by == SentBy(GATEWAY, AGENT)


async def test_one_tunnel_carries_many_requests_of_all_entries_with_the_same_way(tmp_path: Path):
    async with site(tmp_path, always()) as there:
        for name in ("erp", "wms", "erp"):
            await there.client(name).post("items", json={})
        assert len(there.gateway.tunnels) == 1
        assert there.system.connections == 1


async def test_a_tunnel_that_ended_is_not_used_again(tmp_path: Path):
    async def last(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(200, b"x"))

    async with site(tmp_path, last) as there:
        for n in range(3):
            await there.client().post("items")  # not repeatable: a dead tunnel would be an error
            async with asyncio.timeout(5):
                while not there.gateway.tunnels[n].ended:
                    await asyncio.sleep(0.001)
        assert len(there.gateway.tunnels) == 3


async def test_tunnels_of_an_agent_that_is_going_are_closed_at_once(tmp_path: Path):
    """The agent stops when they are closed. Those in use are left alone."""
    held = asyncio.Event()

    async def answer(received: Received, _: asyncio.StreamWriter) -> bytes:
        if received.target.endswith("/slow"):
            await held.wait()
        return reply()

    async with site(tmp_path, answer) as there:
        slow = asyncio.ensure_future(there.client().post("slow"))
        async with asyncio.timeout(5):
            while not there.system.received:
                await asyncio.sleep(0.001)
        await there.client().post("items")
        used, idle = there.gateway.tunnels
        used.going = idle.going = True
        there.connections.tunnels.link_is_going("another")
        there.connections.tunnels.link_is_going(GATEWAY)
        async with asyncio.timeout(5):
            while there.system.open_now != 1:
                await asyncio.sleep(0.001)
        held.set()
        assert (await slow).status_code == 200


async def test_a_provider_that_people_connect_at_is_reached_by_the_gateway_of_the_auth(tmp_path: Path):
    auth = {
        "type": "oauth2",
        "flow": "authorization_code",
        "client_id": "c",
        "client_secret": {"key_vault": "s"},
        "authorization_url": f"https://{HOST}/authorize",
        "token_url": f"https://{HOST}/token",
        "scopes": ["a"],
        "gateway": GATEWAY,
    }
    async with site(tmp_path, always(200, b"{}"), auth=auth, gateway=None) as there:
        response = await there.connections.provider_client("connections.erp").post(f"https://{HOST}/token")
        assert response.status_code == 200
        assert [each[3] for each in there.gateway.opened] == ["the provider of connections.erp"]


async def test_a_certificate_that_is_not_trusted_is_refused_and_the_fix_is_named(tmp_path: Path):
    async with site(tmp_path, always(), ca_bundle=None) as there:
        with pytest.raises(ConnectError) as caught:
            await there.client().post("items", content=b"secret")
        text = str(caught.value)
        assert "set POSTERN_CA_BUNDLE, or ca_bundle of the entry" in text
        assert f"at {HOST}:443 by agent {AGENT} of gateway {GATEWAY}" in text
        assert there.system.received == []


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path):
    async with site(tmp_path, always(), host="other.madrid.corp") as there:
        with pytest.raises(ConnectError, match="Its certificate is for another host"):
            await there.client().post("items")
        assert there.system.received == []
        assert len(there.gateway.tunnels) == 1, "another attempt would meet the same certificate"


@table(
    ("reason", "attempts", "kind", "parts"),
    [
        (
            Reason.TARGET_NOT_ALLOWED,
            1,
            ConnectionFault,
            [f'Add [[allow]] address = "{HOST}:443"', "gateway.toml", AGENT],
        ),
        (Reason.REQUEST_NOT_ALLOWED, 1, ConnectionFault, ["may not send POST /api/items", f'address = "{HOST}:443"']),
        (Reason.ADDRESS_DENIED, 1, NotOpened, [f"{HOST}:443", AGENT, GATEWAY, "resolves"]),
        (Reason.NAME_NOT_FOUND, 2, NotOpened, [f"{HOST}:443", AGENT, GATEWAY, "DNS"]),
        (Reason.TARGET_REFUSED, 2, NotOpened, [f"{HOST}:443", AGENT, GATEWAY, "firewall"]),
        (Reason.TARGET_TIMEOUT, 2, NotOpened, [f"{HOST}:443", AGENT, GATEWAY, "firewalls"]),
        (Reason.AGENT_LOST, 2, NotOpened, [AGENT, GATEWAY, "was not sent"]),
        (Reason.NO_AGENT, 1, NotOpened, [GATEWAY, "postern gateway run"]),
    ],
)
async def test_each_reason_names_the_agent_the_address_and_the_fix(
    reason: Reason, attempts: int, kind: type[Exception], parts: list[str], tmp_path: Path
):
    async with site(tmp_path, always()) as there:
        there.gateway.refusing = [reason, reason]
        with pytest.raises(kind) as caught:
            await there.client().post("items")
        text = str(caught.value)
        assert text.startswith("connections.erp ")
        assert [part for part in parts if part not in text] == []
        assert len(there.gateway.opened) == attempts
        assert there.system.received == []


async def test_every_reason_has_words():
    """A new reason without its own words would be said to be one of a row."""
    found = {words(TunnelRefused(reason, GATEWAY, AGENT, HOST, PORT)) for reason in Reason}
    assert len(found) == len(Reason)
    assert all(GATEWAY in wrong for wrong, _ in found)


async def test_what_fails_before_tls_is_done_is_tried_again_whatever_the_method(tmp_path: Path):
    """Nothing was sent, and another agent may do better."""
    for reason in (Reason.AGENT_LOST, Reason.TARGET_REFUSED, Reason.TARGET_TIMEOUT, Reason.NAME_NOT_FOUND):
        async with site(tmp_path, always()) as there:
            there.gateway.refusing = [reason]
            assert (await there.client().post("items")).status_code == 200
            assert len(there.system.received) == 1


async def test_what_an_agent_does_not_allow_is_not_repeated(tmp_path: Path):
    for reason in (Reason.TARGET_NOT_ALLOWED, Reason.REQUEST_NOT_ALLOWED):
        async with site(tmp_path, always()) as there:
            there.gateway.refusing = [reason]
            with pytest.raises(ConnectionFault):
                await there.client().get("items")
            assert there.waits.seconds == []


def _losing(gateway: list[FakeGateway], times: int) -> Answer:
    """Loses the tunnel while a request is answered, so many times."""
    left = [times]

    async def answer(_: Received, __: asyncio.StreamWriter) -> bytes | None:
        if left[0]:
            left[0] -= 1
            gateway[0].tunnels[-1].lose()
            return None
        return reply(200, b"done")

    return answer


@table(("method", "more", "times"), [("POST", {}, 1), ("PATCH", {}, 1)])
async def test_a_lost_agent_fails_what_may_not_be_repeated(
    method: str, more: dict[str, str], times: int, tmp_path: Path
):
    fakes: list[FakeGateway] = []
    async with site(tmp_path, _losing(fakes, times)) as there:
        fakes.append(there.gateway)
        with pytest.raises(AgentLost) as caught:
            await there.client().request(method, "items", headers=more)
        assert UNKNOWN in str(caught.value)
        assert f"{HOST}:443 by agent {AGENT} of gateway {GATEWAY}" in str(caught.value)
        assert len(there.system.received) == 1, "it ran once"


@table(("method", "more"), [("GET", {}), ("PUT", {}), ("DELETE", {}), ("POST", {"Idempotency-Key": "k-1"})])
async def test_a_lost_agent_costs_a_repeatable_request_one_more_attempt(
    method: str, more: dict[str, str], tmp_path: Path
):
    fakes: list[FakeGateway] = []
    async with site(tmp_path, _losing(fakes, 1)) as there:
        fakes.append(there.gateway)
        response = await there.client().request(method, "items", headers=more)
        assert response.content == b"done"
        assert len(there.system.received) == 2


async def test_a_body_that_breaks_off_names_what_is_unknown(tmp_path: Path):
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.Event().wait()

    async with site(tmp_path, half) as there, there.client().stream("POST", "items") as response:
        there.gateway.tunnels[-1].lose()
        with pytest.raises(AgentLost, match=UNKNOWN):
            await response.aread()


async def test_tls_at_the_agent_means_requests_in_the_clear_in_the_tunnel(tmp_path: Path):
    for address, port in ((f"https://{HOST}/api", 443), (f"http://{HOST}:8080/api", 8080)):
        async with site(
            tmp_path, always(200, b"x"), plain=True, base_url=address, tls="gateway", ca_bundle=None
        ) as there:
            response = await there.client().get("items?a=1")
            assert response.content == b"x"
            assert there.gateway.opened == [(GATEWAY, HOST, port, "connections.erp", True, 10.0)]
            assert there.system.received[0].header("host") == (HOST if port == 443 else f"{HOST}:{port}")
            assert str(response.request.url) == f"{address}/items?a=1"


@table(
    ("reason", "kind", "part"),
    [
        ("request-not-allowed", ConnectionFault, "may not send POST /api/items"),
        ("target-not-allowed", ConnectionFault, "Add [[allow]]"),
        ("target-refused", NotOpened, "gets no connection"),
        ("target-timeout", NotOpened, "no answer"),
        ("agent-lost", AgentLost, UNKNOWN),
        ("a-newer-reason", AgentLost, UNKNOWN),
    ],
)
async def test_an_agent_that_reads_requests_says_why_it_sent_none(
    reason: str, kind: type[Exception], part: str, tmp_path: Path
):
    answer = always(403, b"", f"postern-reason: {reason}")
    async with site(tmp_path, answer, plain=True, tls="gateway", ca_bundle=None) as there:
        with pytest.raises(kind) as caught:
            await there.client().post("items?key=planted")
        assert part in str(caught.value)
        assert "planted" not in str(caught.value)
        assert AGENT in str(caught.value)


async def test_a_reason_of_the_other_side_itself_is_only_a_header(tmp_path: Path):
    """With TLS in the tunnel the agent writes nothing into it."""
    async with site(tmp_path, always(403, b"no", "postern-reason: request-not-allowed")) as there:
        response = await there.client().post("items")
        assert (response.status_code, response.content) == (403, b"no")


@table(("seconds", "wait"), [(100, 10.0), (10, 10.0), (5, 4.0), (1, 0.8)])
async def test_a_request_waits_for_an_agent_no_longer_than_for_its_response(seconds: int, wait: float, tmp_path: Path):
    async with site(tmp_path, always(), timeout=seconds) as there:
        await there.client().post("items")
        assert there.gateway.opened[0][-1] == pytest.approx(wait)


async def test_all_attempts_of_a_call_wait_for_an_agent_once(tmp_path: Path):
    """Each of four attempts would hold the call for 10 s."""
    async with site(tmp_path, always()) as there:
        there.gateway.agent = ""
        for _ in range(2):
            with pytest.raises(NotOpened):
                await there.client().get("items")
        assert there.gateway.waited == [True, False, False, False] * 2
        there.gateway.waited.clear()
        with one_agent_wait():  # the attempts of `ctx.call`
            for _ in range(2):
                with pytest.raises(NotOpened):
                    await there.client().post("items")
        assert there.gateway.waited == [True, False]


async def test_a_slow_system_is_a_timeout_and_no_lost_agent(tmp_path: Path):
    async def never(_: Received, __: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with site(tmp_path, never, timeout=0.3) as there:
        with pytest.raises(ReadTimeout):
            await there.client().post("items")


async def test_a_process_without_gateways_says_so(tmp_path: Path):
    async with site(tmp_path, always()) as there:
        there.connections.open_tunnel = None
        with pytest.raises(NotOpened, match="this process is not one"):
            await there.client().post("items")


async def test_a_ca_bundle_of_an_entry_needs_no_gateway(tmp_path: Path):
    async with site(tmp_path, always(200, b"x"), host="localhost", gateway=None) as there:
        settings = load_settings(
            {},
            folder=tmp_path,
            defaults={
                "connections": {
                    name: {"base_url": f"https://localhost:{there.system.port}", "auth": NONE} | more
                    for name, more in {"own": {"ca_bundle": "ca.pem"}, "other": {}}.items()
                }
            },
        )
        connections = Connections(settings, "", retries=there.waits.retries())
        assert (await connections.client("own").post("")).content == b"x"
        with pytest.raises(ConnectError, match="could not be verified"):
            await connections.client("other").post("")
        await connections.aclose()


async def test_tokens_come_by_the_gateway_of_the_auth(tmp_path: Path):
    def answer_of(tokens: list[str]) -> Answer:
        async def answer(received: Received, _: asyncio.StreamWriter) -> bytes:
            if received.target == "/token":
                return reply(200, b'{"access_token":"t-1","token_type":"bearer"}', "Content-Type: application/json")
            tokens.append(received.header("authorization"))
            return reply()

        return answer

    tokens: list[str] = []
    auth = {
        "type": "oauth2",
        "token_url": f"https://{HOST}/token",
        "client_id": "c",
        "client_secret": {"key_vault": "a-secret"},
        "gateway": GATEWAY,
    }
    async with site(tmp_path, answer_of(tokens), auth=auth) as there:
        await there.client().post("items")
        assert tokens == ["Bearer t-1"]
        assert [each[3] for each in there.gateway.opened] == ["the token endpoint of connections.erp"]
        assert there.system.targets == ["/token", "/api/items"]


def _target(folder: Path) -> Any:
    entry = {"url": f"https://{HOST}/triggers/book", "gateway": GATEWAY}
    settings = load_settings({}, folder=folder, defaults={"gateways": AGENTS, "triggers": {"book": entry}})
    return Targets(settings, dict).find("book")


@table(
    ("make", "sent", "parts"),
    [
        (lambda: _error(NotOpened, Reason.NO_AGENT), False, [GATEWAY]),
        (lambda: _error(NotOpened, Reason.TARGET_REFUSED), False, [f"{HOST}:443", AGENT]),
        (lambda: _error(AgentLost, Reason.AGENT_LOST), True, [UNKNOWN, "may have run there"]),
    ],
    ids=["none", "refused", "lost"],
)
def test_a_call_of_a_trigger_by_a_gateway_fails_with_the_same_words(
    make: Callable[[], Exception], sent: bool, parts: list[str], tmp_path: Path
):
    target = _target(tmp_path)
    assert target.route.gateway == GATEWAY
    found = failed(target, make(), "POST")
    assert isinstance(found, CallError)
    assert found.sent is sent
    assert [part for part in parts if part not in str(found)] == []


def _error(kind: type[NotOpened | AgentLost], reason: Reason) -> Exception:
    from postern.connections.by_gateway import of_gateway

    error = kind("x")
    error.refused = TunnelRefused(reason, GATEWAY, AGENT if reason is not Reason.NO_AGENT else "", HOST, PORT)
    return of_gateway(error, "triggers.book", None)
