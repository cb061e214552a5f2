"""The connections of the settings: which client each entry gets, and what all of them share."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from pydantic_core import to_json

from postern import Context, workflow
from postern.access import ANYONE
from postern.authoring.context import Services
from postern.authoring.request import Request
from postern.connections import ConnectionFault, Connections, places
from postern.connections.vault.secret import Secret
from postern.http_client import ConnectError, PoolTimeout, tls
from postern.runs.runner import Runner
from postern.settings import load_settings
from tests.connections.counterparts import (
    SECRET,
    Answer,
    Counterpart,
    Received,
    Waits,
    always,
    in_turn,
    listening,
    reply,
)
from tests.runs.records import Records

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEY = {"key_vault": "crm-key"}


class Drawer:
    """Where a test's secrets are; it counts who reads."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()

    async def read(self, name: str) -> Secret:
        self.reads["read"] += 1
        await asyncio.sleep(0)
        return Secret(name, SECRET)

    async def read_again(self, name: str, refused: str) -> Secret:
        self.reads["again"] += 1
        return Secret(name, SECRET)


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
async def made(tmp_path: Path, drawer: Drawer) -> AsyncIterator[Any]:
    """Makes Connections of entries and settings, which are closed at the end."""
    opened: list[Connections] = []

    def make(connections: dict[str, Any], **more: Any) -> Connections:
        settings = load_settings({}, folder=tmp_path, defaults={"connections": connections, **more})
        opened.append(Connections(settings, "", secrets=drawer, retries=Waits().retries()))
        return opened[-1]

    yield make
    for each in opened:
        await each.aclose()


def entry(url: str, auth: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"base_url": url, "auth": auth or {"type": "none"}, **more}


def token_server(*others: bytes) -> Answer:
    """It gives a token to every caller."""
    token = to_json({"access_token": SECRET + "-token", "token_type": "Bearer", "expires_in": 3600})
    return in_turn(*others, reply(200, token, "Content-Type: application/json"))


RESTART = "The file is read at the start: restart the server after a change."


def oauth2(tokens: Counterpart) -> dict[str, Any]:
    return {"type": "oauth2", "token_url": tokens.url + "/token", "client_id": "postern", "client_secret": KEY}


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [
        (
            "grahp",
            ["graph", "crm"],
            f"connections.grahp is not in postern.toml. Did you mean graph? Connections: crm, graph. {RESTART}",
        ),
        ("sap", ["graph"], f"connections.sap is not in postern.toml. Connections: graph. {RESTART}"),
        ("sap", [], f"connections.sap is not in postern.toml. Connections: none. {RESTART}"),
    ],
)
async def test_an_unknown_connection_names_those_that_there_are(made: Any, name: str, there: list[str], message: str):
    connections = made({known: entry("https://c.example") for known in there})
    with pytest.raises(ConnectionFault) as caught:
        connections.client(name)
    assert str(caught.value) == message


async def test_each_use_has_a_client_of_its_own_and_all_share_one_pool(made: Any):
    async with listening(always(200, b"ok")) as server:
        connections = made({name: entry(f"{server.url}/{name}") for name in ("a", "b")})
        assert connections.client("a") is not connections.client("a")
        assert connections.client("a")._transport is connections.client("a")._transport
        for name in ("a", "b", "a"):
            assert (await connections.client(name).get("x")).text == "ok"
        assert (server.targets, server.connections) == (["/a/x", "/b/x", "/a/x"], 1)


async def test_an_entry_is_opened_anew_where_it_is_another(made: Any):
    from postern.settings import NoAuth

    connections = made({})
    first, same, other = (
        connections.open("triggers.flow", f"https://flows.example/{path}", NoAuth(), exact=True)._transport
        for path in (1, 1, 2)
    )
    assert first is same is not other


async def test_a_request_that_finds_no_connection_within_its_timeout_says_so(
    made: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(places, "MOST_OF_ENTRY", 1)

    connections = made({"busy": entry("https://busy.example", timeout=0.1)})
    await connections._places.take("connections.busy", places.CONNECTION)
    with pytest.raises(PoolTimeout, match=r"^connections\.busy had no connection free within the timeout"):
        await connections.client("busy").get("/")


async def test_the_limits_of_the_entry_hold(made: Any):
    async def never(received: Received, _: asyncio.StreamWriter) -> None:
        await received.reader.read()

    async with listening(always(200, b"x" * 300)) as server, listening(never) as silent, asyncio.timeout(30):
        connections = made(
            {"small": entry(server.url, max_response_bytes=299), "short": entry(silent.url, timeout=0.2)}
        )
        with pytest.raises(ConnectionFault, match=r"connections\.small responded with more than 299 bytes"):
            await connections.client("small").get("/")
        with pytest.raises(Exception, match=r"connections\.short did not send its whole response within the timeout"):
            await connections.client("short").get("/")


async def test_a_secret_is_handed_on(made: Any):
    assert await made({}).secret("crm-key") == SECRET


WAYS: dict[str, dict[str, Any]] = {
    "basic": {"type": "basic", "username": "lisa", "password": KEY},
    "api key in a header": {"type": "api_key", "header": "X-Api-Key", "key": KEY},
    "api key in the query": {"type": "api_key", "query": "code", "key": KEY},
    "oauth2": {"type": "oauth2"},
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_redirect_elsewhere_carries_no_credential_of_any_kind(made: Any, way: str):
    async with listening(always()) as thief, listening(token_server()) as tokens, listening(always()) as server:
        server.answer = always(307, b"", f"Location: {thief.url}/v1/x?a=1")
        auth = oauth2(tokens) if way == "oauth2" else WAYS[way]
        client = made({"crm": entry(server.url + "/v1", auth)}).client("crm")
        for send in (client.get, client.delete, client.post):
            with pytest.raises(ConnectionFault, match=r"connections\.crm is for"):
                await send("/x", follow_redirects=True)
        assert len(server.received) == 3
        assert all(
            "authorization" in dict(each.headers) or SECRET in f"{each.headers} {each.target}"
            for each in server.received
        )
        assert thief.connections == 0


async def test_fifty_cold_calls_ask_for_one_token_and_one_secret(made: Any, drawer: Drawer):
    async with listening(always(200, b"ok")) as server, listening(token_server()) as tokens:
        client = made({"crm": entry(server.url, oauth2(tokens))}).client("crm")
        answers = await asyncio.gather(*(client.get("/x") for _ in range(50)))
        assert [answer.text for answer in answers] == ["ok"] * 50
        assert {each.header("authorization") for each in server.received} == {f"Bearer {SECRET}-token"}
        await asyncio.gather(*(client.get("/x") for _ in range(10)))
        assert (len(tokens.received), drawer.reads.total()) == (1, 1)


async def test_a_401_for_ever_asks_the_vault_and_the_token_endpoint_twice(made: Any, drawer: Drawer):
    async with listening(always(401)) as server, listening(token_server()) as tokens:
        client = made({"crm": entry(server.url, oauth2(tokens))}).client("crm")
        for _ in range(20):
            assert (await client.get("/x")).status_code == 401
        assert (len(server.received), len(tokens.received), drawer.reads.total()) == (20, 2, 2)


async def test_a_secret_that_another_event_loop_wants_is_read_in_the_server_s(made: Any, drawer: Drawer):
    """What reads secrets has connections and tasks of the server's loop."""
    loops: list[Any] = []

    async def read(name: str) -> Secret:
        loops.append(asyncio.get_running_loop())
        return Secret(name, SECRET)

    drawer.read = read  # type: ignore[method-assign]
    connections = made({})
    connections.home.settle()
    assert await asyncio.to_thread(asyncio.run, connections.secret("x")) == SECRET
    assert loops == [asyncio.get_running_loop()]


async def test_two_processes_whose_provider_keeps_one_live_token_are_both_served(made: Any):
    issued: list[str] = []

    async def issue(_: Received, __: Any) -> bytes:
        issued.append(f"{SECRET}-{len(issued)}")
        token = to_json({"access_token": issued[-1], "expires_in": 3600})
        return reply(200, token, "Content-Type: application/json")

    async def api(received: Received, _: Any) -> bytes:
        return reply(200 if received.header("authorization") == f"Bearer {issued[-1]}" else 401)

    async with listening(api) as server, listening(issue) as tokens:
        clients = [made({"crm": entry(server.url, oauth2(tokens))}).client("crm") for _ in range(2)]
        for _ in range(5):
            for client in clients:
                assert (await client.post("/x", files={"f": ("a", b"x")})).status_code == 200
        assert len(issued) == 10, "each request renews the token that the other process ended, once"


async def test_a_key_that_is_rejected_for_ever_is_read_again_and_sent_once(made: Any, drawer: Drawer):
    async with listening(always(401)) as server:
        client = made({"crm": entry(server.url, WAYS["api key in a header"])}).client("crm")
        for _ in range(20):
            assert (await client.get("/x")).status_code == 401
        assert len(server.received) == 20
        assert drawer.reads["again"] <= 20  # which the vault bounds by itself


@pytest.mark.parametrize("status", [302, 307])
async def test_a_token_endpoint_that_redirects_gets_nowhere(made: Any, status: int):
    async with listening(always()) as thief, listening(always()) as server:
        async with listening(always(status, b"", f"Location: {thief.url}/token")) as tokens:
            client = made({"crm": entry(server.url, oauth2(tokens))}).client("crm")
            with pytest.raises(ConnectionFault, match=r"connections\.crm") as caught:
                await client.get("/x")
        assert SECRET not in str(caught.value)
        assert thief.connections == 0
        assert server.received == []


async def test_a_hostile_token_endpoint_is_cut_off(made: Any):
    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b"[" * 65536)
            await writer.drain()

    async with listening(endless) as tokens, listening(always()) as server, asyncio.timeout(30):
        client = made({"crm": entry(server.url, oauth2(tokens))}).client("crm")
        with pytest.raises(ConnectionFault):
            await client.get("/x")
        assert server.received == []


async def test_the_ca_bundle_holds_for_connections_and_token_endpoints(made: Any, tmp_path: Path):
    authority = trustme.CA()
    bundle = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with listening(always(200, b"ok"), context) as server, listening(token_server(), context) as tokens:
        entries = {"crm": entry(server.url, oauth2(tokens)), "open": entry(server.url)}
        trusting = made(entries, ca_bundle=str(bundle))
        assert (await trusting.client("crm").get("/x")).text == "ok"
        others = made(entries)
        with pytest.raises(ConnectError, match=r"connections\.open could not be called.*POSTERN_CA_BUNDLE"):
            await others.client("open").get("/x")
        with pytest.raises(ConnectionFault, match=r"connections\.crm"):
            await others.client("crm").get("/x")
        assert (len(server.received), len(tokens.received)) == (1, 1)
    assert tls(bundle) is tls(bundle)


async def test_a_fault_is_on_record_and_its_caller_sees_nothing_of_it(made: Any):
    """The record has the entry and the fix; the caller has the constant problem."""
    connections = made({"graph": entry("https://graph.example/v1")})
    runner = Runner(
        Services(connections.secret, connections.of_run, structlog.get_logger("test")), Records(), lambda _: None
    )

    @workflow
    async def climbs(ctx: Context) -> Any:
        return (await ctx.connection("graph").get("/../admin")).json()

    run = await runner.start(climbs, ANYONE, Request("POST", "/triggers/climbs"), {}, "run-1")
    runner.close()
    assert run.outcome.error_type == "ConnectionFault"
    assert run.outcome.error_message.startswith("connections.graph is for https://graph.example/v1 only. Use another")
    assert run.outcome.status == 500
    assert b"graph" not in run.outcome.content
