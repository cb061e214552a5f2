"""The hub: which agent a tunnel goes over, and when links take no more."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from postern.access import Caller
from postern.gateway.hello import AgentState, ServerState, line, objects, server_state
from postern.gateway.hub import MOST_AGENTS, Hub
from postern.gateway.link_io import PING_EVERY, LinkIO, Serve
from postern.gateway.reasons import REASON_HEADER
from postern.gateway.refused import SCHEME
from postern.gateway.streams import LinkStream
from postern.tunnels import Reason, TunnelRefused
from tests.gateway.ends import Time, Wire, echo, settle, wires

pytestmark = pytest.mark.anyio

DAY = 1_796_047_331.0
"""2026-11-30 14:02:11 UTC."""


def refusing(status: int, reason: str = "") -> Serve:
    async def serve(stream: LinkStream) -> None:
        await stream.answer(status, ((REASON_HEADER, reason),) if reason else (), end=True)

    return serve


async def never(stream: LinkStream) -> None:
    await anyio.sleep_forever()


class Agent:
    """An agent's end: it says its name and serves tunnels. `told`: what the server said."""

    def __init__(self, name: str, serve: Serve, wire: Wire, time: Time) -> None:
        self.name = name
        self.wire = wire
        self.told: list[ServerState] = []
        self.requests: list[dict[str, str]] = []
        self._hello: LinkStream | None = None
        self._tunnel = serve
        self.io = LinkIO(wire, client_side=False, serve=self._serve, clock=time, sleep=time.sleep)

    async def say(self, *, draining: bool = False) -> None:
        assert self._hello is not None
        await self._hello.send(line(AgentState(self.name, "0.2.0", draining)))

    async def _serve(self, stream: LinkStream) -> None:
        if stream.request[":method"] == "CONNECT":
            self.requests.append(dict(stream.request))
            await self._tunnel(stream)
            return
        self._hello = stream
        await stream.answer(200)
        if self.name:
            await self.say()
        async for fields in objects(stream):
            self.told.append(server_state(fields))


class Site:
    """A hub, and the agents of its gateways."""

    def __init__(self, group: TaskGroup) -> None:
        self.time = Time()
        self.nodes: list[str] = []
        self.hub = Hub(
            ("madrid", "oslo"),
            node="node-1",
            nodes=lambda: self.nodes,
            version="0.2.0",
            now=lambda: DAY + self.time.now - 1000,
        )
        self.wires: list[Wire] = []
        self._group = group

    async def agent(
        self, name: str, serve: Serve = echo, *, gateway: str = "madrid", expires_in: float = 3600, oid: str = ""
    ) -> Agent:
        server_wire, agent_wire = wires()
        self.wires += server_wire, agent_wire
        agent = Agent(name, serve, agent_wire, self.time)
        server = LinkIO(server_wire, client_side=True, clock=self.time, sleep=self.time.sleep)
        caller = Caller("application", object_id=oid or name)
        expires_at = DAY + self.time.now - 1000 + expires_in
        self._group.start_soon(self.hub.serve, gateway, caller, expires_at, server)
        self._group.start_soon(agent.io.run)
        await settle()
        return agent

    def watch_going(self) -> list[str]:
        """The gateways of which a link was reported as going."""
        found: list[str] = []
        self.hub.going.append(found.append)
        return found

    async def open(self, gateway: str = "madrid", wait: float = 2.0, **more: Any) -> Any:
        options: dict[str, Any] = {"entry": "erp", "ends_tls": False} | more
        return await self.hub.open(gateway, "erp.corp", 443, wait=wait, **options)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    async with anyio.create_task_group() as group:
        here = Site(group)
        try:
            yield here
        finally:
            group.cancel_scope.cancel()
            for wire in here.wires:
                wire.close()


async def test_a_tunnel_carries_bytes_over_the_agent_of_its_gateway():
    async with site() as here:
        madrid, oslo = await here.agent("madrid-1"), await here.agent("oslo-1", gateway="oslo")
        tunnel = await here.open()
        await tunnel.send(b"hello")
        assert await tunnel.receive() == b"hello"
        assert (tunnel.gateway, tunnel.agent, tunnel.ended) == ("madrid", "madrid-1", False)
        assert madrid.requests == [{":method": "CONNECT", ":authority": "erp.corp:443", "postern-entry": "erp"}]
        assert oslo.requests == []
        await tunnel.aclose()


async def test_the_agent_learns_where_tls_ends_and_ipv6_addresses_have_brackets():
    async with site() as here:
        agent = await here.agent("madrid-1")
        await here.hub.open("madrid", "fd12::7", 80, entry="stock", ends_tls=True, wait=1)
        assert agent.requests[0][":authority"] == "[fd12::7]:80"
        assert agent.requests[0]["postern-tls"] == "gateway"


async def test_tunnels_are_spread_over_the_agents():
    async with site() as here:
        for name in ("madrid-1", "madrid-2", "madrid-3"):
            await here.agent(name)
        agents = [(await here.open()).agent for _ in range(6)]
        assert sorted(agents) == ["madrid-1", "madrid-1", "madrid-2", "madrid-2", "madrid-3", "madrid-3"]


async def test_unused_agents_take_turns():
    async with site() as here:
        await here.agent("madrid-1")
        await here.agent("madrid-2")
        agents = []
        for _ in range(4):
            tunnel = await here.open()
            agents.append(tunnel.agent)
            await tunnel.aclose()
        assert sorted(agents) == ["madrid-1", "madrid-1", "madrid-2", "madrid-2"]


async def test_an_agent_that_does_not_answer_pings_gets_no_tunnel():
    async with site() as here:
        stopped = await here.agent("madrid-1")
        await here.agent("madrid-2")
        await here.time.advance(1)
        stopped.wire.held = True
        await here.time.advance(2 * PING_EVERY)
        assert {(await here.open()).agent for _ in range(3)} == {"madrid-2"}


async def test_a_refusal_by_the_list_is_final():
    async with site() as here:
        agents = [await here.agent(name, refusing(403, "target-not-allowed")) for name in ("madrid-1", "madrid-2")]
        with pytest.raises(TunnelRefused) as raised:
            await here.open()
        error = raised.value
        assert (error.reason, error.gateway, error.text) == (Reason.TARGET_NOT_ALLOWED, "madrid", "")
        assert (error.agent in ("madrid-1", "madrid-2"), error.host, error.port) == (True, "erp.corp", 443)
        assert sum(len(agent.requests) for agent in agents) == 1
        with pytest.raises(TunnelRefused) as raised:
            await here.open(ends_tls=True)
        assert raised.value.text == SCHEME


async def test_a_target_that_one_agent_does_not_reach_is_tried_at_the_others_once_each():
    async with site() as here:
        failing = [await here.agent(name, refusing(502, "target-refused")) for name in ("madrid-1", "madrid-2")]
        with pytest.raises(TunnelRefused) as raised:
            await here.open()
        assert raised.value.reason == Reason.TARGET_REFUSED
        assert [len(agent.requests) for agent in failing] == [1, 1]
        await here.agent("madrid-3")
        assert (await here.open()).agent == "madrid-3"


REPLIES = {
    (403, "address-denied"): Reason.ADDRESS_DENIED,
    (502, "name-not-found"): Reason.NAME_NOT_FOUND,
    (504, "target-timeout"): Reason.TARGET_TIMEOUT,
    (403, "later-reason"): Reason.TARGET_NOT_ALLOWED,
    (504, ""): Reason.TARGET_TIMEOUT,
    (502, "no-agent"): Reason.TARGET_REFUSED,
    (500, ""): Reason.AGENT_LOST,
    (302, ""): Reason.AGENT_LOST,
}


async def test_each_answer_of_an_agent_has_a_reason():
    for (status, said), reason in REPLIES.items():
        async with site() as here:
            await here.agent("madrid-1", refusing(status, said))
            with pytest.raises(TunnelRefused) as raised:
                await here.open()
            assert raised.value.reason == reason, (status, said)
            assert here.hub.figures["madrid"].outcomes == {reason: 1}


async def test_an_unanswered_tunnel_goes_to_another_agent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.hub.ANSWER_WAIT", 0.02)
    async with site() as here:
        for name in ("madrid-1", "madrid-2"):
            await here.agent(name, never)
        slow = [link.io for link in here.hub.links["madrid"]]
        await here.agent("madrid-3")
        assert {(await here.open()).agent for _ in range(3)} == {"madrid-3"}
        assert all(io.streams == 1 for io in slow)


async def test_the_only_agent_has_all_the_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.hub.ANSWER_WAIT", 0.0)

    async def later(stream: LinkStream) -> None:
        await anyio.sleep(0.03)
        await echo(stream)

    async with site() as here:
        await here.agent("madrid-1", later)
        assert (await here.open()).agent == "madrid-1"
    async with site() as here:
        await here.agent("madrid-1", never)
        with pytest.raises(TunnelRefused) as raised:
            await here.open(wait=0.02)
        assert raised.value.reason == Reason.TARGET_TIMEOUT


async def test_a_call_waits_for_an_agent_that_comes():
    async with site() as here, anyio.create_task_group() as group:
        group.start_soon(come_later, here)
        assert (await here.open()).agent == "madrid-1"


async def come_later(here: Site) -> None:
    await settle()
    await here.agent("madrid-1")


async def test_a_call_whose_agent_is_lost_goes_to_the_next_that_comes():
    async def lose(stream: LinkStream) -> None:
        lost.wire.close()

    async with site() as here, anyio.create_task_group() as group:
        lost = await here.agent("madrid-1", lose)
        group.start_soon(come_later, here)
        assert (await here.open()).agent == "madrid-1"
        assert len(here.hub.connected("madrid")) == 1


async def test_an_agent_that_comes_late_has_its_time_to_answer():
    async with site() as here, anyio.create_task_group() as group:
        at = [0.0]
        here.hub._clock = lambda: at[0]

        async def come_late() -> None:
            await settle()
            at[0] = 2.0 - 1e-9
            await here.agent("madrid-1")

        group.start_soon(come_late)
        assert (await here.open(wait=2.0)).agent == "madrid-1"


async def test_a_call_that_has_waited_already_waits_no_more_but_has_its_time_where_an_agent_is():
    async with site() as here:
        here.hub._clock = lambda: 0.0  # a wait would never end
        with anyio.fail_after(5), pytest.raises(TunnelRefused) as raised:
            await here.open(for_agent=False)
        assert raised.value.reason is Reason.NO_AGENT
        await here.agent("madrid-1")
        assert (await here.open(for_agent=False)).agent == "madrid-1"


async def test_without_an_agent_the_error_says_which_was_the_last():
    async with site() as here:
        with pytest.raises(TunnelRefused) as raised:
            await here.open(wait=0)
        never_one = "no agent of gateway madrid is connected; none was since this server process started"
        assert (raised.value.reason, raised.value.text) == (Reason.NO_AGENT, never_one)
        agent = await here.agent("madrid-1")
        agent.wire.held = True
        await here.time.advance(10)
        with pytest.raises(TunnelRefused) as raised:
            await here.open(wait=0)
        assert raised.value.text == (
            "no agent of gateway madrid is connected; madrid-1 was until 14:02:20 UTC (silent for 9 s)"
        )


async def test_agents_that_take_no_more_are_not_called_missing():
    async with site() as here:
        (await here.agent("madrid-1")).wire.held = True
        await here.time.advance(2 * PING_EVERY)
        with pytest.raises(TunnelRefused, match="none of the 1 agents of gateway madrid takes another tunnel"):
            await here.open(wait=0)


async def test_a_link_takes_tunnels_until_its_token_expires_and_ends_when_they_have():
    async with site() as here:
        await here.agent("madrid-1", expires_in=100)
        tunnel = await here.open()
        going = here.watch_going()
        await here.time.advance(99)
        assert (tunnel.ended, going) == (False, [])
        await here.time.advance(2)
        assert (tunnel.ended, going) == (True, ["madrid"])
        with pytest.raises(TunnelRefused):
            await here.open(wait=0)
        await tunnel.send(b"still")
        assert await tunnel.receive() == b"still"
        await tunnel.aclose()
        await here.time.advance(6)
        assert here.hub.links["madrid"] == []
        assert here.hub.last["madrid"].reason == "the token of the agent expired"


async def test_an_expired_link_ends_after_ten_minutes_whatever_its_calls_do():
    async with site() as here:
        await here.agent("madrid-1", expires_in=100)
        tunnel = await here.open()
        await here.time.advance(100 + 595)
        assert len(here.hub.links["madrid"]) == 1
        await here.time.advance(10)
        assert here.hub.links["madrid"] == []
        with pytest.raises(anyio.BrokenResourceError):
            await tunnel.receive()


async def test_a_renewed_link_takes_over_and_the_old_one_keeps_its_tunnels():
    async with site() as here:
        old = await here.agent("madrid-1")
        before = await here.open()
        new = await here.agent("madrid-1")
        assert not before.ended
        await before.send(b"still")
        assert await before.receive() == b"still"
        for _ in range(3):
            await here.open()
        assert (len(old.requests), len(new.requests)) == (1, 3)
        assert len(here.hub.connected("madrid")) == 1


async def test_an_older_link_is_used_again_when_the_newer_one_ended():
    """Two machines with one name and identity: each stays usable while the other has gone."""
    async with site() as here:
        old, new = await here.agent("madrid-1"), await here.agent("madrid-1")
        new.wire.close()
        await settle()
        await here.open()
        assert len(old.requests) == 1


async def test_agents_of_one_name_with_other_identities_are_two_agents():
    async with site() as here:
        await here.agent("madrid-1", oid="a")
        await here.agent("madrid-1", oid="b")
        assert len(here.hub.connected("madrid")) == 2


async def test_a_draining_agent_gets_no_tunnel_and_its_idle_ones_are_reported():
    async with site() as here:
        agent = await here.agent("madrid-1")
        tunnel = await here.open()
        going = here.watch_going()
        await agent.say(draining=True)
        await settle()
        assert (tunnel.ended, going) == (True, ["madrid"])
        await here.agent("madrid-2")
        assert (await here.open()).agent == "madrid-2"


async def test_an_agent_learns_the_live_server_processes_each_time_they_change(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.hub.NODES_EVERY", 0.001)
    async with site() as here, anyio.create_task_group() as group:
        here.nodes = ["node-2", "node-1"]
        agent = await here.agent("madrid-1")
        assert agent.told == [ServerState("node-1", ("node-1", "node-2"), "0.2.0")]
        group.start_soon(here.hub.run)
        await anyio.sleep(0.02)
        here.nodes = ["node-1", "node-3"]
        await anyio.sleep(0.05)
        assert agent.told[-1].nodes == ("node-1", "node-3")
        assert len(agent.told) <= 3
        group.cancel_scope.cancel()


async def test_an_agent_learns_at_once_that_a_server_process_stops_which_still_opens_tunnels():
    async with site() as here, anyio.create_task_group() as group:
        agent = await here.agent("madrid-1")
        group.start_soon(here.hub.run)
        await settle()
        here.hub.drain()
        await settle()
        assert [state.draining for state in agent.told] == [False, True]
        assert (await here.open()).agent == "madrid-1"
        group.cancel_scope.cancel()


async def test_the_seventeenth_agent_is_refused():
    async with site() as here:
        for number in range(MOST_AGENTS + 1):
            await here.agent(f"madrid-{number}")
        assert len(here.hub.connected("madrid")) == MOST_AGENTS
        assert here.hub.last["madrid"].agent == f"madrid-{MOST_AGENTS}"


async def test_links_of_a_gateway_are_limited_before_they_say_a_name():
    async with site() as here:
        for _ in range(2 * MOST_AGENTS):
            assert here.hub.has_room("madrid")
            await here.agent("", oid="silent")
        assert not here.hub.has_room("madrid")
        assert here.hub.has_room("oslo")


async def test_an_agent_that_says_no_name_is_ended():
    async with site() as here:
        await here.agent("", oid="silent")
        assert len(here.hub.links["madrid"]) == 1
        await here.time.advance(10)
        assert here.hub.links["madrid"] == []


async def test_a_revocation_ends_the_links_of_its_agents_alone():
    async with site() as here:
        await here.agent("madrid-1")
        await here.agent("madrid-2")
        tunnels = [await here.open(), await here.open()]
        here.hub.end(lambda caller: caller.object_id == "madrid-1")
        await settle()
        assert [link.agent for link in here.hub.connected("madrid")] == ["madrid-2"]
        assert here.hub.last["madrid"].reason == "the access of the agent was revoked"
        for tunnel in tunnels:
            assert tunnel.ended == (tunnel.agent == "madrid-1")


async def test_a_cancelled_call_leaves_no_stream():
    async with site() as here:
        await here.agent("madrid-1", never)
        with anyio.move_on_after(0.01):
            await here.open()
        await settle()
        (link,) = here.hub.links["madrid"]
        assert (link.io.streams, link.tunnels) == (1, set())


BAD_HELLOS: list[Callable[[Agent], bytes]] = [lambda _: b"rubbish\n", lambda _: b"{}\n", lambda _: b"x" * 70_000]


async def test_a_bad_hello_ends_the_link():
    for made in BAD_HELLOS:
        async with site() as here:
            agent = await here.agent("madrid-1")
            assert agent._hello is not None
            await agent._hello.send(made(agent))
            await settle()
            assert here.hub.links["madrid"] == []
