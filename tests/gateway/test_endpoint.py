"""Links over real sockets: who gets one, and what ends it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import create_engine, select
from websockets.exceptions import InvalidStatus

from postern.gateway.frames import BURST_SECONDS, CONTROL_FRAMES_A_SECOND
from postern.gateway.hub import MOST_LINKS
from postern.gateway.policy import ROLE
from postern.gateway.streams import LinkStream
from postern.http_client import http_client
from postern.journal.security_tables import audit_events
from postern.local_tenant import LocalTenant
from postern.settings import SettingsFault
from postern.tunnels import Tunnel
from tests.gateway.installation import MADRID, OSLO, Installation, eventually, installation, object_id
from tests.gateway.test_link import EMPTY_SETTINGS, PING, frame

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_modules"), pytest.mark.process]


@pytest.fixture
def anyio_backend():
    """The event loop that the server runs on."""
    return "asyncio", {"use_uvloop": True}


async def open_tunnel(here: Installation, gateway: str = "madrid", wait: float = 5.0) -> Tunnel:
    return await here.hub.open(gateway, "erp.corp", 443, entry="erp", ends_tls=False, wait=wait)


async def test_an_agent_gets_a_link_over_which_tunnels_carry_bytes(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        agent = await here.agent()
        tunnel = await open_tunnel(here)
        (link,) = here.hub.links["madrid"]
        await eventually(lambda: link.io.round_trip)
        size = 3 * 2**20
        async with anyio.create_task_group() as group:
            group.start_soon(tunnel.send, bytes(size))
            received = 0
            while received < size:
                received += len(await tunnel.receive())
        (told,) = agent.told
        assert told.node in told.nodes
        assert not told.draining
        async with http_client(base_url=f"http://127.0.0.1:{here.port}") as client:
            metrics = (await client.get("/metrics")).text
        shown = {
            name: value for name, value in map(_sample, metrics.splitlines()) if name.startswith("postern_gateway")
        }
        assert shown["postern_gateway_agents madrid"] == shown["postern_gateway_tunnels madrid"] == 1
        assert shown["postern_gateway_agents oslo"] == 0
        assert shown["postern_gateway_calls_total madrid opened"] == 1
        assert shown["postern_gateway_bytes_total received madrid"] > size
        assert shown["postern_gateway_bytes_total sent madrid"] > size
        assert 0 < shown["postern_gateway_round_trip_seconds madrid-1 madrid"] < 10


def _sample(text: str) -> tuple[str, float]:
    if text.startswith("#") or not text:
        return "", 0.0
    name, _, value = text.rpartition(" ")
    metric, _, labels = name.partition("{")
    found = [each.partition("=")[2].strip('"}') for each in labels.split(",") if not each.startswith("process=")]
    return " ".join([metric, *found]), float(value)


# Each row: the application or person, how its token is changed, the gateway, headers, and the status with the check or
# code that the record names. 101: the link begins.
MATRIX: dict[str, tuple[str | None, dict[str, Any], str, dict[str, str], tuple[int, str]]] = {
    "an agent of the gateway": (MADRID, {}, "madrid", {}, (101, "")),
    "the same with a token of version 1.0": (MADRID, {"version": 1}, "madrid", {}, (101, "")),
    "the agent of another gateway": (OSLO, {}, "madrid", {}, (401, "listed")),
    "the agent at another gateway": (MADRID, {}, "oslo", {}, (401, "listed")),
    "an application that is on no list": ("nightly-report", {}, "madrid", {}, (401, "listed")),
    "without the role": (MADRID, {"roles": []}, "madrid", {}, (401, "role")),
    "with other roles": (MADRID, {"roles": ["Workflow.Run", "Postern.Operator"]}, "madrid", {}, (401, "role")),
    "with the role in other letters": (MADRID, {"roles": [ROLE.lower()]}, "madrid", {}, (401, "role")),
    "a person with the role": ("ada", {}, "madrid", {}, (401, "applications-only")),
    "a guest with the role": ("gil", {}, "madrid", {}, (401, "applications-only")),
    "a token that has expired": (MADRID, {"expired": True}, "madrid", {}, (401, "expiry")),
    "a token of another API": (MADRID, {"wrong_audience": True}, "madrid", {}, (401, "audience")),
    "a token of another tenant": (MADRID, {"other_tenant": True}, "madrid", {}, (401, "known-tenant")),
    "no token": (None, {}, "madrid", {}, (401, "credentials")),
    "a page of a browser": (MADRID, {}, "madrid", {"Origin": "http://127.0.0.1"}, (401, "origin")),
    "a page of another site": (MADRID, {}, "madrid", {"Origin": "https://evil.example"}, (401, "origin")),
    "plain http by a proxy": (MADRID, {}, "madrid", {"X-Forwarded-For": "192.0.2.1"}, (401, "insecure-transport")),
    "a gateway that is none": (MADRID, {}, "paris", {}, (404, "not-found")),
    "a gateway that is none, without a token": (None, {}, "paris", {}, (401, "credentials")),
}


async def test_the_access_matrix_of_links(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path, public_url="https://postern.example.com") as here:
        rejected = []
        for name, (who, changes, gateway, headers, expected) in MATRIX.items():
            token = None if who is None else here.token(who, **changes)
            assert await outcome(here, gateway, token, headers=headers) == expected[0], name
            if expected[0] != 101:
                rejected.append(expected)
        recorded = [(row["status"], row["reason"]) for row in await here.refusals(len(set(rejected)))]
        assert sorted(set(rejected)) == sorted(set(recorded))


async def outcome(here: Installation, gateway: str, token: str | None, **more: Any) -> int:
    """The status of the handshake. A rejection is a problem document, and the upgrade did not happen."""
    try:
        async with here.at(gateway, token, **more):
            return 101
    except InvalidStatus as refused:
        response = refused.response
        assert response.headers["content-type"] == "application/problem+json"
        assert response.body is not None
        assert json.loads(response.body)["status"] == response.status_code
        if response.status_code == 401:
            assert response.headers["www-authenticate"].startswith("Bearer")
        return int(response.status_code)


async def test_a_refused_agent_learns_why_and_the_operator_sees_every_check(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        with pytest.raises(InvalidStatus) as raised:
            async with here.at("madrid", here.token(OSLO)):
                pass
        body = raised.value.response.body
        assert body is not None
        assert json.loads(body)["detail"] == "This object id is not in agents of [gateways.madrid]."
        with pytest.raises(InvalidStatus):
            async with here.at("madrid", here.token(OSLO, roles=[])):
                pass
        rows = {row["reason"]: row for row in await here.refusals(2)}
        await eventually_examined(here)
        (row,) = [row for row in await here.refusals(2) if row["reason"] == "role"]
        checks = {check["name"]: check for check in json.loads(row["checks"])}
        assert (checks["role"]["passed"], checks["listed"]["passed"], checks["audience"]["passed"]) == (
            False,
            False,
            True,
        )
        assert checks["listed"]["found"] == object_id(local_tenant, OSLO)
        assert "[gateways.madrid]" in checks["listed"]["hint"]
        assert json.loads(row["claimed"])["object_id"] == object_id(local_tenant, OSLO)
        assert set(rows) == {"role", "listed"}


async def eventually_examined(here: Installation) -> None:
    with anyio.fail_after(10):
        while any(row["claimed"] is None for row in await here.refusals(2)):
            await anyio.sleep(0.05)


async def test_rejected_agents_are_in_the_audit_log(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        assert await outcome(here, "madrid", here.token(OSLO)) == 401
        await here.refusals(1)
    engine = create_engine(here.settings.database_url)
    with engine.connect() as connection:
        bodies = list(connection.scalars(select(audit_events.c.body).where(audit_events.c.kind == "refusal")))
    engine.dispose()
    (refusal,) = [json.loads(body)["fields"] for body in bodies]
    assert (refusal["reason"], refusal["object_id"]) == ("listed", object_id(local_tenant, OSLO))


async def test_the_allowed_networks_of_the_server_hold_for_links(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path, allowed_networks=["192.0.2.0/24"]) as here:
        assert await outcome(here, "madrid", here.token()) == 401
        (row,) = await here.refusals(1)
        assert row["reason"] == "network"


async def test_a_trusted_proxy_must_report_https(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path, proxies=("127.0.0.1",)) as here:
        by_http = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "http"}
        assert await outcome(here, "madrid", here.token(), headers=by_http) == 401
        assert await outcome(here, "madrid", here.token(), headers=by_http | {"X-Forwarded-Proto": "https"}) == 101


async def test_a_request_that_is_no_handshake_is_refused_after_its_identity(tmp_path: Path, local_tenant: LocalTenant):
    async with (
        installation(local_tenant, tmp_path) as here,
        http_client(base_url=f"http://127.0.0.1:{here.port}") as client,
    ):
        bearer = {"Authorization": f"Bearer {here.token()}"}
        assert (await client.get("/gateways/madrid/link")).status_code == 401
        plain = await client.get("/gateways/madrid/link", headers=bearer)
        assert (plain.status_code, plain.json()["code"]) == (400, "bad-header")
        assert (await client.post("/gateways/madrid/link", headers=bearer)).status_code == 405
        assert (await client.get("/gateways/madrid", headers=bearer)).status_code == 404
        assert await outcome(here, "madrid", here.token(), subprotocols=["postern-gateway.9"]) == 400
        assert await outcome(here, "madrid", here.token(), subprotocols=None) == 400


async def test_more_links_than_a_gateway_has_are_refused(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        token = here.token()
        links = [await here.at("madrid", token) for _ in range(MOST_LINKS)]
        assert await outcome(here, "madrid", token) == 429
        assert await outcome(here, "oslo", here.token(OSLO)) == 101
        for link in links:
            await link.close()


async def test_links_that_begin_at_the_same_moment_are_counted_too(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here, anyio.create_task_group() as group:
        token, found = here.token(), list[int]()

        async def one() -> None:
            try:
                async with here.at("madrid", token):
                    found.append(101)
                    await anyio.sleep_forever()
            except InvalidStatus as refused:
                found.append(refused.response.status_code)

        for _ in range(MOST_LINKS + 20):
            group.start_soon(one)
        await eventually(lambda: len(found) == MOST_LINKS + 20)
        assert (found.count(101), found.count(429)) == (MOST_LINKS, 20)
        assert len(here.hub.links["madrid"]) <= MOST_LINKS
        group.cancel_scope.cancel()


async def test_a_revocation_ends_the_link_and_the_agent_gets_no_other(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        agent = await here.agent()
        tunnel = await open_tunnel(here)
        async with http_client(base_url=f"http://127.0.0.1:{here.port}") as client:
            revoked = await client.post(
                "/revocations",
                headers={"Authorization": f"Bearer {local_tenant.token('ada', roles=['Postern.Operator'])}"},
                json={"subject": object_id(local_tenant, MADRID), "kind": "caller"},
            )
            assert revoked.status_code < 300, revoked.text
        with pytest.raises(anyio.BrokenResourceError):
            await tunnel.receive()
        await eventually(lambda: agent.why)
        assert agent.close_reason == "the access of the agent was revoked"
        assert await outcome(here, "madrid", here.token()) == 401


async def test_the_leeway_for_clocks_is_not_added_to_the_time_of_a_link(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        expired = local_tenant.claims(MADRID, roles=[ROLE]) | {"exp": int(time.time()) - 5}
        socket = await here.at("madrid", local_tenant.mint(expired))
        await socket.wait_closed()
        assert socket.close_reason == "the token of the agent expired"


async def test_a_flood_ends_the_link_and_not_the_server(tmp_path: Path, local_tenant: LocalTenant):
    async with installation(local_tenant, tmp_path) as here:
        other = await here.agent("oslo", here.token(OSLO), name="oslo-1")
        socket = await here.at("madrid", here.token())
        flood = EMPTY_SETTINGS + frame(PING, 0, 0, bytes(8)) * (CONTROL_FRAMES_A_SECOND * BURST_SECONDS + 100)
        await socket.send(flood)
        await socket.wait_closed()
        assert "control frames" in (socket.close_reason or "")
        tunnel = await open_tunnel(here, "oslo")
        await tunnel.send(b"hello")
        assert await tunnel.receive() == b"hello"
        assert other.io.ended is None


@asynccontextmanager
async def unread(here: Installation, count: int) -> AsyncIterator[list[Tunnel]]:
    tunnels = [await open_tunnel(here) for _ in range(count)]
    async with anyio.create_task_group() as group:
        for tunnel in tunnels:
            group.start_soon(send_much, tunnel)
        await asyncio.sleep(0.3)
        yield tunnels
        group.cancel_scope.cancel()


async def send_much(tunnel: Tunnel) -> None:
    with suppress(anyio.ClosedResourceError):
        await tunnel.send(bytes(2**20))


async def test_slow_readers_hold_up_no_other_tunnel(tmp_path: Path, local_tenant: LocalTenant):
    """The agent sends back what it gets, and the server reads nothing of 100 tunnels."""
    async with installation(local_tenant, tmp_path) as here:
        await here.agent()
        async with unread(here, 100) as tunnels:
            other = await open_tunnel(here)
            with anyio.fail_after(5):
                await other.send(b"hello")
                assert await other.receive() == b"hello"
            for tunnel in tunnels:
                await tunnel.aclose()


async def test_a_server_that_stops_tells_its_agents_and_keeps_links_for_runs(tmp_path: Path, local_tenant: LocalTenant):
    workflow = """
import asyncio
from postern import anonymous, workflow

GO_ON = asyncio.Event()

@workflow(access=anonymous())
async def slow(ctx):
    await GO_ON.wait()
    return "done"
"""
    async with installation(local_tenant, tmp_path, workflows=workflow) as here:
        agent = await here.agent()
        go_on = here.app.catalog.snapshot.triggers["slow"].workflow.function.__globals__["GO_ON"]
        async with http_client(base_url=f"http://127.0.0.1:{here.port}") as client:
            run = asyncio.create_task(client.post("/triggers/slow"))
            await eventually(lambda: here.server.server_state.tasks)
            await asyncio.sleep(0.1)
            here.server.handle_exit(15, None)
            await eventually(lambda: agent.told[-1].draining)
            await asyncio.sleep(0.3)
            tunnel = await open_tunnel(here)
            await tunnel.send(b"still")
            assert await tunnel.receive() == b"still"
            go_on.set()
            assert (await run).status_code == 200
        await eventually(lambda: agent.why)


CALLS = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def stock(ctx):
    response = await ctx.connection("stock").get("/items")
    return response.text
"""


async def items(stream: LinkStream) -> None:
    """A system that answers each request with its first line."""
    await stream.answer(200)
    async for head in stream:
        body = head.partition(b"\r\n")[0]
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await stream.send_eof()


async def test_a_connection_is_reached_by_an_agent_and_idle_tunnels_are_closed_when_it_drains(
    tmp_path: Path, local_tenant: LocalTenant
):
    stock = {"base_url": "http://stock.corp:8080", "gateway": "madrid", "tls": "gateway", "auth": {"type": "none"}}
    async with installation(local_tenant, tmp_path, workflows=CALLS, connections={"stock": stock}) as here:
        first = await here.agent(serve=items)
        async with http_client(base_url=f"http://127.0.0.1:{here.port}") as client:
            for _ in range(3):
                answer = await client.post("/triggers/stock")
                assert (answer.status_code, answer.json()) == (200, "GET /items HTTP/1.1")
            (link,) = here.hub.links["madrid"]
            assert len(link.tunnels) == 1
            second = await here.agent(serve=items, name="madrid-2")
            await first.drain()
            await eventually(lambda: not link.tunnels)
            answer = await client.post("/triggers/stock")
            assert answer.status_code == 200
            assert first.io.streams == 1
            assert second.io.streams == 2
            await first.socket.close()
            await second.socket.close()
            await eventually(lambda: not here.hub.links["madrid"])


async def test_links_of_a_worker_are_taken_too(tmp_path: Path, local_tenant: LocalTenant):
    from postern.assembly import create_app
    from postern.settings.role import Role

    async with installation(local_tenant, tmp_path) as here:
        worker = create_app(here.settings, role=Role.WORKER)
        paths = {getattr(route, "path", "") for route in worker.routes}
        assert "/gateways/{name}/link" in paths
        assert "/runs" not in paths


def test_a_gateway_without_agents_does_not_load(tmp_path: Path):
    from postern.settings import load_settings

    with pytest.raises(SettingsFault, match="agents"):
        load_settings({}, folder=tmp_path, defaults={"workflows": ".", "gateways": {"madrid": {"agents": []}}})
