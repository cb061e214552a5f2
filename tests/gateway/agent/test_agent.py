"""The agent's links: it reaches every server process, renews, drains and comes back."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from structlog.testing import capture_logs

from postern.gateway.agent.agent import Agent
from postern.gateway.agent.dial import dial
from postern.gateway.agent.plan import Plan, Reached
from postern.gateway.agent.settings import AgentSettings, SignIn
from postern.gateway.agent.sign_in import SignInFault, Token
from postern.gateway.hello import AgentState
from postern.settings import SettingsFault
from tests.gateway.agent.nodes import Cluster, at_random, cluster
from tests.gateway.agent.targets import target
from tests.gateway.agent.test_tunnels import echo, row, unused_port
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ID = "00000000-0000-0000-0000-000000000001"


class FewTokens:
    """Tokens with a number, which are good for `seconds`."""

    def __init__(self, seconds: float = 3600.0, value: str = "") -> None:
        self.seconds = seconds
        self.value = value
        self.count = 0
        self.fault: SignInFault | None = None

    async def get(self) -> Token:
        if self.fault is not None:
            raise self.fault
        self.count += 1
        return Token(self.value or f"token-{self.count}", time.time() + self.seconds)

    def forget(self, token: Token) -> None:
        pass


def settings(*urls: str, **more: Any) -> AgentSettings:
    servers: dict[str, Any] = {"server": urls[0]} if len(urls) == 1 else {"servers": list(urls)}
    return AgentSettings(
        name="madrid",
        agent="madrid-1",
        tenant_id=ID,
        audience="api://postern",
        sign_in=SignIn(managed_identity=True),
        **servers,
        **more,
    )


@asynccontextmanager
async def agent_of(given: AgentSettings, tokens: FewTokens | None = None, load: Any = None) -> AsyncIterator[Agent]:
    made = Agent(given, load or (lambda: given), tokens=tokens or FewTokens())
    async with anyio.create_task_group() as group:
        group.start_soon(made.run)
        try:
            yield made
        finally:
            group.cancel_scope.cancel()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.005)


def all_reached(at: Cluster) -> bool:
    return all(node.agents() == ["madrid-1"] for node in at.nodes)


async def test_a_link_is_made_with_a_token_and_carries_a_tunnel():
    async with target(echo) as port, cluster("one") as at, agent_of(settings(at.url, allow=(row(port),))) as agent:
        await until(lambda: all_reached(at))
        assert at.nodes[0].tokens == ["token-1"]
        tunnel = await at.nodes[0].hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
        await tunnel.send(b"ping")
        assert await tunnel.receive() == b"ping"
        well, shown = agent.health()
        assert well
        assert (shown["nodes"], shown["tunnels"], shown["nodes_missing"]) == (["one"], 1, [])
        assert b"postern_gateway_agent_open_tunnels 1.0" in agent.metrics()
        await tunnel.aclose()


async def test_every_server_process_behind_a_balancer_is_reached_once():
    async with cluster(*"abcd", choose=at_random(7)) as at, agent_of(settings(at.url)) as agent:
        await until(lambda: all_reached(at))
        await until(lambda: len(agent.sessions) == 4)
        dials = at.dials
        assert dials < 40
        await anyio.sleep(0.3)
        assert at.dials == dials


async def test_a_sticky_balancer_is_dialled_slowly_and_warned_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.plan.FAST_SECONDS", 0.2)
    monkeypatch.setattr("postern.gateway.agent.plan.STICKY_SECONDS", 0.3)
    with capture_logs() as logs:
        async with cluster(*"abcd", choose=lambda nodes: nodes[0]) as at, agent_of(settings(at.url)) as agent:
            await until(lambda: any(each["event"] == "gateway_reaches_some_nodes" for each in logs))
            assert agent.health()[1]["nodes_missing"] == ["b", "c", "d"]
            await until(lambda: at.nodes[0].agents() == ["madrid-1"])
            assert at.dials < 10
    warned = [each for each in logs if each["event"] == "gateway_reaches_some_nodes"]
    assert [each["why"] for each in warned] == ["reaches 1 of 4 nodes: sticky balancer"]
    assert "servers" in warned[0]["fix"]


async def test_a_link_is_renewed_before_its_token_expires_and_the_old_one_is_drained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.session.RENEW_BEFORE", 9.0)
    monkeypatch.setattr("postern.gateway.agent.session.RENEW_AGAIN", 0.2)
    tokens = FewTokens(seconds=9.5)
    async with (
        target(echo) as port,
        cluster("one") as at,
        agent_of(settings(at.url, allow=(row(port),)), tokens) as agent,
    ):
        await until(lambda: all_reached(at))
        tunnel = await at.nodes[0].hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
        tokens.seconds = 3600.0
        await until(lambda: len(at.nodes[0].tokens) == 2)
        await until(lambda: len([each for each in agent.sessions if not each.draining]) == 1)
        await tunnel.send(b"ping")
        assert await tunnel.receive() == b"ping"
        await tunnel.aclose()
        await until(lambda: len(agent.sessions) == 1)
        await until(lambda: all_reached(at))


async def test_after_the_server_was_gone_the_links_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.plan.BACKOFF_MOST", 0.2)
    with capture_logs() as logs:
        async with cluster("one") as at:
            port = int(at.url.rpartition(":")[2])
            given = settings(at.url)
            made = Agent(given, lambda: given, tokens=FewTokens())
            async with anyio.create_task_group() as group:
                group.start_soon(made.run)
                await until(lambda: all_reached(at))
                for session in list(made.sessions):
                    session.io.stop("cut")
                await until(lambda: all_reached(at) and made.health()[0])
                group.cancel_scope.cancel()
        async with agent_of(given) as agent:
            await until(lambda: agent.health()[1]["last_error"])
            assert "refuses connections" in agent.health()[1]["last_error"]
            assert not agent.health()[0]
            async with cluster("two", port=port) as again:
                await until(lambda: all_reached(again))
                assert agent.health()[1]["last_error"] == ""
    assert [each["why"] for each in logs if each["event"] == "gateway_link_ended"][:1] == ["cut"]


async def test_the_log_has_the_reason_with_which_the_server_closed_a_link():
    with capture_logs() as logs:
        async with cluster("one") as at, agent_of(settings(at.url)):
            await until(lambda: all_reached(at))
            at.nodes[0].hub.end(lambda _: True)
            await until(lambda: any(each["event"] == "gateway_link_ended" for each in logs))
    why = next(each["why"] for each in logs if each["event"] == "gateway_link_ended")
    assert why == "the server closed it: the access of the agent was revoked"


async def test_the_server_learns_which_nodes_an_agent_reaches_and_what_failed_last():

    def said(at: Cluster) -> list[AgentState]:
        return [link.state for node in at.nodes for link in node.hub.links["madrid"] if link.state is not None]

    async with cluster("one", "two") as at, agent_of(settings(at.url)):
        await until(lambda: [each.nodes for each in said(at)] == [("one", "two")] * 2)
        assert {each.error for each in said(at)} == {""}
    async with cluster("one") as at, agent_of(settings(at.url, f"http://127.0.0.1:{unused_port()}")):
        await until(lambda: ["refuses connections" in each.error for each in said(at)] == [True])


async def test_a_link_that_the_server_ends_at_once_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch):
    """It would be dialled 20 times a second otherwise."""
    monkeypatch.setattr("postern.gateway.hub.MOST_AGENTS", 0)
    plan = Plan([], rand=lambda: 1.0)
    async with cluster("one") as at:
        given = settings(at.url)
        plan.urls = given.addresses
        agent = Agent(given, lambda: given, tokens=FewTokens(), plan=plan)
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await until(lambda: at.dials == 5)
            why = "the link ended: the server closed it: gateway madrid has 0 agents already"
            await until(lambda: agent.health()[1]["last_error"] == why)
            group.cancel_scope.cancel()
    assert plan.ended(at.url, time.monotonic(), 0.0) >= 1.6


async def test_a_server_process_that_only_some_know_of_is_reached_too():
    """One that began lately is in the lists of the others some seconds later."""
    order = iter([1, 0, 0, 0, 0])
    async with cluster(*"abc", choose=lambda nodes: nodes[next(order, 2)]) as at:
        at.nodes[0].hub._nodes = lambda: ["a"]
        async with agent_of(settings(at.url)):
            await until(lambda: all_reached(at))


async def test_a_rejected_token_is_reported_with_the_reason_and_the_fix():
    with capture_logs() as logs:
        async with cluster("one") as at, agent_of(settings(at.url)) as agent:
            at.nodes[0].reject = HTTPStatus.UNAUTHORIZED
            await until(lambda: agent.health()[1]["last_error"])
            shown = agent.health()[1]["last_error"]
    assert "rejects the token (401): the role is missing" in shown
    assert "[gateways.madrid]" in shown
    assert "token-1" not in str(logs)


async def test_a_failed_sign_in_is_reported_and_tried_again():
    tokens = FewTokens()
    tokens.fault = SignInFault("Entra rejects the sign-in (AADSTS7000222)", "Make a new secret")
    async with cluster("one") as at, agent_of(settings(at.url), tokens) as agent:
        await until(lambda: agent.health()[1]["last_error"].startswith("Entra rejects"))
        tokens.fault = None
        await until(lambda: all_reached(at))


async def test_a_stopped_agent_takes_no_new_tunnels_and_ends_after_its_open_ones():
    async with target(echo) as port, cluster("one") as at:
        hub, ended = at.nodes[0].hub, anyio.Event()
        given = settings(at.url, allow=(row(port),))
        agent = Agent(given, lambda: given, tokens=FewTokens())
        async with anyio.create_task_group() as group:

            async def run() -> None:
                await agent.run()
                ended.set()

            group.start_soon(run)
            await until(lambda: all_reached(at))
            tunnel = await hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
            agent.stop()
            await until(lambda: not at.nodes[0].agents())
            assert tunnel.ended
            await tunnel.send(b"ping")
            assert await tunnel.receive() == b"ping"
            assert not ended.is_set()
            await tunnel.send_eof()
            with pytest.raises(anyio.EndOfStream):
                await tunnel.receive()
            with anyio.fail_after(5):
                await ended.wait()


async def test_an_agent_that_is_stopped_while_it_connects_makes_no_link():
    dialled, go_on = anyio.Event(), anyio.Event()

    async def slow(given: AgentSettings, url: str, token: Token) -> Any:
        dialled.set()
        await go_on.wait()
        return await dial(given, url, token)

    async with cluster("one") as at:
        given = settings(at.url)
        agent = Agent(given, lambda: given, tokens=FewTokens(), dial=slow)
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await dialled.wait()
            agent.stop()
            go_on.set()
            group.cancel_scope.deadline = anyio.current_time() + 5
        assert not group.cancel_scope.cancelled_caught
    assert at.nodes[0].agents() == []


async def test_a_stopped_agent_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.agent.STOP_SECONDS", 0.2)
    async with target(echo) as port, cluster("one") as at:
        given = settings(at.url, allow=(row(port),))
        agent = Agent(given, lambda: given, tokens=FewTokens())
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await until(lambda: all_reached(at))
            tunnel = await at.nodes[0].hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
            agent.stop()
            with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(5):
                await tunnel.receive()


async def test_the_rows_are_read_again_and_a_faulty_file_changes_nothing():
    async with target(echo) as port, cluster("one") as at:
        files: list[Any] = [settings(at.url, allow=(row(port),)), SettingsFault([])]

        def load() -> AgentSettings:
            found = files.pop(0)
            if isinstance(found, SettingsFault):
                raise found
            return found  # type: ignore[no-any-return]

        async with agent_of(settings(at.url), load=load) as agent:
            await until(lambda: all_reached(at))
            agent.reload()
            for _ in range(2):
                tunnel = await at.nodes[0].hub.open("madrid", "127.0.0.1", port, entry="x", ends_tls=False, wait=5)
                await tunnel.aclose()
                if files:
                    agent.reload()
            assert b"postern_gateway_agent_faulty_files_total 1.0" in agent.metrics()


async def test_servers_that_are_named_one_by_one_each_get_a_link():
    async with cluster("one") as first, cluster("two") as second, agent_of(settings(first.url, second.url)):
        await until(lambda: all_reached(first) and all_reached(second))


async def test_a_redirect_is_not_followed():
    """The token would go to another server."""
    async with cluster("one") as at, agent_of(settings(at.url)) as agent:
        at.nodes[0].reject = HTTPStatus.TEMPORARY_REDIRECT
        await until(lambda: "redirects (307)" in agent.health()[1]["last_error"])


class Holding:
    """A proxy on the way. `cut` ends the connections that are open; `held` ones stay open and pass nothing on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: set[ByteStream] = set()
        self.held: set[ByteStream] = set()

    async def __call__(self, stream: ByteStream) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self.port) as there, anyio.create_task_group() as group:
            self.open |= {stream, there}

            async def one(source: ByteStream, sink: ByteStream) -> None:
                with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                    async for data in source:
                        if source in self.held:
                            await anyio.sleep_forever()
                        await sink.send(data)
                group.cancel_scope.cancel()

            group.start_soon(one, there, stream)
            await one(stream, there)

    async def cut(self) -> None:
        for each in self.open:
            await anyio.aclose_forcefully(each)


@pytest.mark.parametrize("how", ["cut", "held"])
async def test_a_proxy_that_cuts_or_holds_a_link_costs_seconds_and_no_restart(
    how: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in (("PING_EVERY", 0.1), ("SILENCE", 0.5)):
        monkeypatch.setattr(f"postern.gateway.link_io.{name}", value)
    async with cluster("one") as at:
        way = Holding(int(at.url.rpartition(":")[2]))
        async with target(way) as port, agent_of(settings(f"http://127.0.0.1:{port}")):
            await until(lambda: all_reached(at))
            if how == "cut":
                await way.cut()
            else:
                way.held |= way.open
            await until(lambda: at.nodes[0].links == 2)
            await until(lambda: all_reached(at))


def test_the_plan_dials_fast_then_slowly(tmp_path: Path):
    from postern.gateway.agent.plan import Reached

    plan, now, at = Plan(["https://a"], rand=lambda: 1.0), 0.0, []
    links = [Reached("https://a", "one", fresh=True)]
    while now < 20:
        found = plan.next_dial(now, links, ["one", "two"])
        assert found is not None
        now = max(now, found[1])
        plan.dialled(found[0], now)
        at.append(now)
    assert 95 <= len([each for each in at if each < 5]) <= 101
    assert len([each for each in at if each >= 5]) <= 4
    assert plan.next_dial(now, links, ["one"]) is None


def test_failures_are_backed_off_with_full_jitter():
    plan = Plan(["https://a"], rand=lambda: 1.0)
    waits = [plan.failed("https://a", 0.0) for _ in range(12)]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 15.0
    assert Plan(["https://a"], rand=lambda: 0.0).failed("https://a", 0.0) == 0.0
    found = plan.next_dial(1.0, [], [])
    assert found == ("https://a", 15.0)


def test_links_that_do_not_last_are_backed_off_whatever_succeeds_in_between():
    plan = Plan(["https://a"], rand=lambda: 1.0)
    waits = []
    for _ in range(4):
        plan.succeeded("https://a")
        waits.append(plan.ended("https://a", 0.0, 0.1))
    assert waits == [0.1, 0.2, 0.4, 0.8]
    assert plan.next_dial(0.0, [], []) == ("https://a", 0.8)
    assert plan.ended("https://a", 0.0, 3600.0) == 0.0
    assert plan.ended("https://a", 0.0, 0.1) == 0.1


def test_a_success_ends_the_backoff_of_failures():
    plan = Plan(["https://a"], rand=lambda: 1.0)
    assert [plan.failed("https://a", 0.0) for _ in range(3)] == [0.1, 0.2, 0.4]
    plan.succeeded("https://a")
    assert plan.next_dial(0.0, [], []) == ("https://a", 0.0)
    assert plan.failed("https://a", 0.0) == 0.1


@table("before, warned_at", [(["a"], 10.0), (["a", "b", "c"], 45.0), (["a", "b"], 10.0)])
def test_server_processes_that_were_never_reached_are_warned_of_sooner_than_lost_ones(
    before: list[str], warned_at: float
):
    """One that was killed stays in the server's list for a while, and no balancer is to blame."""
    plan, live = Plan(["https://a"]), ["a", "b", "c"]
    plan.next_dial(0.0, [Reached("https://a", node, fresh=True) for node in before], live)
    plan.sticky(0.0, [Reached("https://a", node, fresh=True) for node in before], live)
    links = [Reached("https://a", "a", fresh=True)]
    plan.next_dial(0.0, links, live)
    assert plan.sticky(warned_at - 0.1, links, live) is None
    assert plan.sticky(warned_at, links, live) == (1, 3)
    assert plan.sticky(warned_at + 60, links, live) is None
