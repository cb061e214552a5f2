"""What an entry can say so that the other side understands it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic_core import to_json

from postern.access import ANYONE
from postern.authoring.call_result import CallError
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.connections import ConnectionFault, Connections
from postern.connections.calls.calls import Calls
from postern.connections.calls.replies import Replies
from postern.connections.vault.secret import Secret
from postern.http_client import http_client
from postern.settings import load_settings
from postern.version import own_version
from tests.connections.counterparts import Counterpart, Received, Waits, always, in_turn, listening, reply

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEY = {"key_vault": "crm-key"}
TOKEN = to_json({"access_token": "T1", "token_type": "Bearer", "expires_in": 3600})


class Drawer:
    """Where a test's secrets are; `values` are by name."""

    def __init__(self) -> None:
        self.values = {"crm-key": "key-1", "apim-key": "apim-1"}

    async def read(self, name: str) -> Secret:
        return Secret(name, self.values[name])

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
async def made(tmp_path: Path, drawer: Drawer) -> AsyncIterator[Any]:
    """Makes Connections of settings, which are closed at the end."""
    opened: list[Connections] = []

    def make(**settings: Any) -> Connections:
        loaded = load_settings({}, folder=tmp_path, defaults=settings)
        opened.append(Connections(loaded, "", secrets=drawer, retries=Waits().retries()))
        return opened[-1]

    yield make
    for each in opened:
        await each.aclose()


def oauth2(tokens: Counterpart, **more: Any) -> dict[str, Any]:
    keys = {"token_url": tokens.url + "/token", "client_id": "postern", "client_secret": KEY}
    return {"type": "oauth2", **keys, **more}


async def test_a_token_that_comes_compressed_is_used(made: Any):
    async with listening(always()) as api, listening(always(200, gzip.compress(TOKEN), "Content-Encoding: gzip")) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at)}}).client("crm")
        assert (await client.get("/x")).status_code == 200
        assert api.received[0].header("authorization") == "Bearer T1"


async def test_a_token_endpoint_with_an_unknown_coding_is_a_fault_of_its_entry(made: Any):
    async with listening(always()) as api, listening(always(200, TOKEN, "Content-Encoding: br")) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at)}}).client("crm")
        with pytest.raises(ConnectionFault, match=r"^connections\.crm gets no token: .*/token responded with .* br"):
            await client.get("/x")


APIM = {"headers": {"Ocp-Apim-Subscription-Key": {"key_vault": "apim-key"}}}


async def test_a_header_by_reference_goes_beside_the_token(made: Any):
    async with listening(always()) as api, listening(always(200, TOKEN)) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at), **APIM}}).client("crm")
        found = await client.get("/x")
        assert api.received[0].header("authorization") == "Bearer T1"
        assert api.received[0].header("ocp-apim-subscription-key") == "apim-1"
        assert "apim-1" not in f"{found.request.headers!r} {found.request.extensions!r}"


async def test_a_new_value_of_such_a_header_is_sent_once_more(made: Any, drawer: Drawer):
    async def answer(received: Received, _: Any) -> bytes:
        drawer.values["apim-key"] = "apim-2"
        return reply(200 if received.header("ocp-apim-subscription-key") == "apim-2" else 401)

    async with listening(answer) as api, listening(always(200, TOKEN)) as at:
        client = made(connections={"crm": {"base_url": api.url, "auth": oauth2(at), **APIM}}).client("crm")
        assert (await client.get("/x")).status_code == 200
        assert [each.header("authorization") for each in api.received] == ["Bearer T1"] * 2


async def test_a_header_that_cannot_be_read_names_its_place(made: Any, drawer: Drawer):
    drawer.values["apim-key"] = "apim-1\n"
    client = made(connections={"crm": {"base_url": "https://x.example", "auth": {"type": "none"}, **APIM}}).client(
        "crm"
    )
    with pytest.raises(
        ConnectionFault, match=r"^connections\.crm has a headers\.Ocp-Apim-Subscription-Key that cannot"
    ):
        await client.get("/x")


async def test_trying_out_reads_the_headers_too(made: Any):
    connections = made(connections={"crm": {"base_url": "https://x.example", "auth": {"type": "none"}, **APIM}})
    connections.client("crm")
    stages = [stage async for stage in connections.sign_in("connections.crm").try_out()]
    assert [stage.detail for stage in stages] == ["apim-key (headers.Ocp-Apim-Subscription-Key), no expiry date"]


async def test_a_redirect_elsewhere_carries_no_such_header(made: Any):
    async with listening(always()) as thief, listening(always(302, b"", f"Location: {thief.url}/x")) as api:
        client = made(connections={"crm": {"base_url": api.url, "auth": {"type": "none"}, **APIM}}).client("crm")
        with pytest.raises(ConnectionFault):
            await client.get("/x", follow_redirects=True)
        assert thief.received == []


def called(connections: Connections, folder: Path, **trigger: Any) -> tuple[Calls, Context]:
    """`ctx.call` over real clients."""
    settings = load_settings({}, folder=folder, defaults={"triggers": {"t": trigger}})

    async def sleep(_: float) -> None: ...

    calls = Calls(settings, dict, connections.open, lambda *_: None, sleep=sleep, home=connections.home)
    services = Services(connections.secret, connections.of_run, structlog.get_logger("test"), call=calls.call)
    return calls, Context(Request("POST", "/triggers/x"), ANYONE, "run-1", "x", services)


async def test_a_result_is_fetched_where_the_entry_allows_it_and_without_the_credential(made: Any, tmp_path: Path):
    async with listening(always(200, b'{"done": true}', "Content-Type: application/json")) as results:
        async with listening(always(202, b"", f"Location: {results.url}/r/1?code=x")) as gateway:
            auth = {"type": "basic", "username": "u", "password": KEY}
            calls, ctx = called(made(), tmp_path, url=f"{gateway.url}/t", auth=auth, results_at=[results.url], **APIM)
            assert await ctx.call("t", {}) == {"done": True}
            calls.close()
        assert results.targets == ["/r/1?code=x"]
        assert results.received[0].header("authorization") == ""
        assert results.received[0].header("ocp-apim-subscription-key") == ""
        assert gateway.received[0].header("ocp-apim-subscription-key") == "apim-1"


async def test_a_result_elsewhere_is_not_fetched_unless_the_entry_allows_it(made: Any, tmp_path: Path):
    async with listening(always()) as results:
        async with listening(always(202, b"", f"Location: {results.url}/r/1")) as gateway:
            calls, ctx = called(made(), tmp_path, url=f"{gateway.url}/t", results_at=["https://func.example"])
            with pytest.raises(CallError, match=r"name the origin: results_at = .* in \[triggers\.t\]"):
                await ctx.call("t", {})
            calls.close()
        assert results.received == []


async def test_a_call_that_does_not_wait_has_its_handle_also_where_the_result_is_refused(made: Any, tmp_path: Path):
    """The trigger has run: the error comes with the result."""
    moved = always(202, b"", "Location: https://func.example/r/1", "X-Run-Id: 01K0000000000000000000000A")
    async with listening(moved) as gateway:
        calls, ctx = called(made(), tmp_path, url=f"{gateway.url}/t")
        handle = await ctx.call("t", {}, wait=False)
        assert (handle.done, handle.location) == (False, "")
        with pytest.raises(CallError, match=r"results_at"):
            await handle.result()
        calls.close()


async def test_a_result_elsewhere_may_be_polled_and_lead_further(made: Any, tmp_path: Path):
    async with AsyncExitStack() as opened:
        last = await opened.enter_async_context(listening(always(200, b"1", "Content-Type: application/json")))
        first = await opened.enter_async_context(listening(always(202, b"", f"Location: {last.url}/r/2")))
        gateway = await opened.enter_async_context(listening(always(202, b"", f"Location: {first.url}/r/1")))
        calls, ctx = called(made(), tmp_path, url=f"{gateway.url}/t", results_at=[first.url, last.url])
        opened.callback(calls.close)
        assert await ctx.call("t", {}) == 1


@pytest.mark.parametrize("leads", ["redirect", "operation"])
async def test_a_look_elsewhere_leads_to_results_that_the_entry_allows(made: Any, tmp_path: Path, leads: str):
    async with AsyncExitStack() as opened:
        last = await opened.enter_async_context(listening(always(200, b"1", "Content-Type: application/json")))
        there = {"status": "Succeeded", "resourceLocation": f"{last.url}/r/2"}
        look = {
            "redirect": always(303, b"", f"Location: {last.url}/r/2"),
            "operation": always(200, to_json(there), "Content-Type: application/json"),
        }
        first = await opened.enter_async_context(listening(look[leads]))
        accepted = always(202, b"", f"Operation-Location: {first.url}/r/1")
        gateway = await opened.enter_async_context(listening(accepted))
        auth = {"type": "basic", "username": "u", "password": KEY}
        at = {"url": f"{gateway.url}/t", "results_at": [first.url, last.url]}
        calls, ctx = called(made(), tmp_path, auth=auth, **at)
        opened.callback(calls.close)
        assert await ctx.call("t", {}) == 1
        assert [each.received[0].header("authorization") for each in (first, last)] == ["", ""]


@pytest.mark.parametrize("leads", ["redirect", "location", "operation"])
async def test_an_origin_of_results_does_not_decide_where_the_credential_is_sent(made: Any, tmp_path: Path, leads: str):
    """The credential is not for that host, which could have any address of the trigger's origin requested with it."""
    async with AsyncExitStack() as opened:
        gateway = await opened.enter_async_context(listening(always()))
        back = f"{gateway.url}/admin/delete"
        done = {"status": "Succeeded", "resourceLocation": back}
        look = {
            "redirect": always(302, b"", f"Location: {back}"),
            "location": always(202, b"", f"Location: {back}"),
            "operation": always(200, to_json(done), "Content-Type: application/json"),
        }
        results = await opened.enter_async_context(listening(look[leads]))
        gateway.answer = in_turn(reply(202, b"", f"Operation-Location: {results.url}/r"), reply(401))
        auth = {"type": "basic", "username": "u", "password": KEY}
        at = {"url": f"{gateway.url}/t", "results_at": [results.url], **APIM}
        calls, ctx = called(made(), tmp_path, auth=auth, **at)
        opened.callback(calls.close)
        with pytest.raises(CallError, match="without the credential because its address is at another origin, or was"):
            await ctx.call("t", {})
        sent = [
            (each.target, each.header("authorization"), each.header("ocp-apim-subscription-key"))
            for each in gateway.received
        ]
        assert sent[1:] == [("/admin/delete", "", "")]
        assert all(sent[0])


async def test_a_reply_that_cannot_be_unpacked_came_after_the_request_was_sent(made: Any, tmp_path: Path):
    damaged = gzip.compress(b"1" * 99)[:-4]
    async with listening(always(200, damaged, "Content-Encoding: gzip")) as api:
        calls, ctx = called(made(), tmp_path, url=f"{api.url}/t")
        with pytest.raises(CallError, match="not in the content coding gzip") as caught:
            await ctx.call("t", {})
        calls.close()
        assert (caught.value.sent, len(api.received)) == (True, 1)


async def test_an_encoded_slash_in_path_is_sent_as_it_was_written(made: Any, tmp_path: Path):
    async with listening(always(200, b"1", "Content-Type: application/json")) as api:
        calls, ctx = called(made(), tmp_path, url=f"{api.url}/t")
        assert await ctx.call("t", {}, path="/orders/a%2Fb") == 1
        with pytest.raises(CallError):
            await ctx.call("t", {}, path="/orders/a%2F..%2Fb")
        calls.close()
        assert api.targets == ["/t/orders/a%2Fb"]


async def test_a_reply_for_another_loop_is_read_at_home(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The turns of large replies belong to the server's loop: a turn that comes in another one would wake nobody."""
    read_in: list[Any] = []
    noted_in: list[Any] = []
    value = Replies.value

    async def noted(*arguments: Any) -> Any:
        read_in.append(asyncio.get_running_loop())
        return await value(*arguments)

    monkeypatch.setattr(Replies, "value", noted)
    connections = made()
    connections.home.settle()
    async with listening(always(200, b"1", "Content-Type: application/json")) as api:
        calls, ctx = called(connections, tmp_path, url=f"{api.url}/t")
        monkeypatch.setattr(calls, "_note", lambda *_: noted_in.append(asyncio.get_running_loop()))
        assert await asyncio.to_thread(asyncio.run, ctx.call("t", {})) == 1
        calls.close()
    assert read_in == noted_in == [asyncio.get_running_loop()]


async def test_all_requests_name_the_product(made: Any, tmp_path: Path):
    async with listening(always(200, TOKEN)) as api:
        connections = made(connections={"crm": {"base_url": api.url, "auth": oauth2(api)}})
        await connections.client("crm").get("/x")
        calls, ctx = called(connections, tmp_path, url=f"{api.url}/t")
        await ctx.call("t", {})
        calls.close()
        async with http_client() as client:
            await client.get(api.url)
        agents = {each.header("user-agent") for each in api.received}
        assert (len(api.received), agents) == (4, {f"Postern/{own_version()}"})
        await connections.client("crm").get("/x", headers={"User-Agent": "mine"})
        assert api.received[-1].header("user-agent") == "mine"
