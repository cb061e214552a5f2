"""A request begins in the context of the server: what another one set there reaches neither it nor its log."""

import ast
import asyncio
from contextvars import Context, ContextVar
from pathlib import Path
from types import SimpleNamespace

import pytest

from postern.server import protocol
from postern.trace import RUN
from postern.triggers.exchange import EXCHANGE
from postern.triggers.reply import lines_of
from tests.server.test_protocol import HOST, Echo, Hasty, eventually, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PACKAGE = Path(__file__).parents[2] / "app" / "postern"
USER: ContextVar[str] = ContextVar("USER", default="")
OPERATORS: ContextVar[str] = ContextVar("OPERATORS", default="")
GET = b"GET /%b HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


class Remembers(Echo):
    """An author's application with a "current user" in a context variable; `/s…` is sent in two messages."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, object]] = []

    async def __call__(self, scope, receive, send):
        self.found.append((USER.get(), OPERATORS.get(), RUN.get()))
        USER.set(scope["path"])
        RUN.set(("another caller's run", None))
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0)
        headers = [(b"content-length", b"2")]
        if scope["path"].startswith("/s") or not scope[EXCHANGE].answer_at_once(200, lines_of(headers), b"{}"):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("path", [b"w", b"s"])
async def test_requests_of_one_connection_share_no_context_variables(path):
    """Pipelined, one after the other, and after a body that paused reading. What the server set for all is there."""
    token = OPERATORS.set("theirs")
    app = Remembers()
    async with serving(app=app) as running:
        OPERATORS.reset(token)
        client = await running.connect()
        client.send(GET % path * 5)
        for _ in range(5):
            await client.answer()
        size = 1024 * 1024
        client.send(b"POST /%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (path, HOST, size) + b"x" * size)
        await client.answer()
        for _ in range(3):
            client.send(GET % path)
            await client.answer()
    assert app.found == [("", "theirs", None)] * 9


async def test_a_timer_that_a_request_sets_runs_in_no_request_s_context(monkeypatch):
    """A later request that comes too slowly is logged without the id of an earlier run."""
    found: list[object] = []
    monkeypatch.setattr(protocol, "notice", lambda *_: found.append(RUN.get()))
    async with serving(Hasty, app=Remembers()) as running:
        for late in (b"GET / HT", b"POST /w HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n"):
            client = await running.connect()
            client.send(GET % b"s")
            await client.answer()
            client.send(late)
            assert (await client.answer())[0] == 408
    assert found == [None, None]


async def test_every_timer_of_a_connection_is_in_the_context_of_the_server(monkeypatch):
    later = asyncio.get_running_loop().call_later
    contexts: list[Context | None] = []

    def noted(delay, callback, *arguments, context=None):
        if isinstance(getattr(callback, "__self__", None), Hasty):
            contexts.append(context)
        return later(delay, callback, *arguments, context=context)

    class Noting(Hasty):
        def __init__(self, config, state, app_state, _loop=None):
            super().__init__(config, state, app_state, _loop)
            self.loop = SimpleNamespace(**{name: getattr(self.loop, name) for name in USED}, call_later=noted)  # type: ignore[assignment]

    async with serving(Noting, app=Remembers()) as running:
        client = await running.connect()
        client.send(GET % b"s" * 2)
        for _ in range(2):
            await client.answer()
        for connection in list(running.state.connections):
            connection.drain(0.01)  # type: ignore[union-attr, call-arg]
        await eventually(lambda: not running.state.connections)
    assert len(contexts) >= 3
    assert all(context is not None and RUN not in context for context in contexts)


USED = ("create_task", "call_soon", "time")

OUTLIVES = {"create_task", "ensure_future", "call_later", "call_at", "start_soon"}
"""Calls by which something goes on after the code that began it."""

ITS_OWN = {
    "api/run_actions.py": "a resubmitted run: its request has set nothing, and the run sets its own id",
    "api/results.py": "belongs to the request that waits, and ends with it",
    "assembly/part.py": "begins with the server",
    "cli/local_gateway.py": "in a thread of its own, whose context is empty",
    "connections/grants/awake.py": "belongs to the code that waits, and ends with it",
    "connections/grants/background.py": "begins with the server, and renews for no run",
    "connections/grants/server_grants.py": "begins with the server",
    "connections/on_behalf_of/exchanges.py": "begun by an exchange, which is in an empty context",
    "connections/response_body.py": "belongs to the call of one run, and ends with it",
    "durable/across_loops.py": "begun by a callback, which is in the context that was named",
    "durable/dbos_engine.py": "begun in the loop of DBOS, in the empty context that was named",
    "durable/execution.py": "belongs to the execution of one run, which waits for its end",
    "durable/executions.py": "begun by a timer, which is in an empty context",
    "durable/waits.py": "belongs to the execution of one run, which waits for its end",
    "gateway/agent/agent.py": "of the agent, a process that runs no workflow",
    "gateway/agent/relay.py": "of the agent, a process that runs no workflow",
    "gateway/agent/serve.py": "of the agent, a process that runs no workflow",
    "gateway/agent/session.py": "of the agent, a process that runs no workflow",
    "gateway/agent_link.py": "belongs to its link, which begins with the connection of an agent",
    "gateway/hub.py": "belongs to a task that begins with the server, and ends with it",
    "gateway/link_io.py": "belongs to its link, which begins with the connection of an agent",
    "identity/identify.py": "begins with the server, in a task of its own",
    "journal/refusals.py": "begins with the server",
    "journal/server_processes.py": "begins with the server",
    "runs/apart.py": "a resubmitted run: its request has set nothing, and the run sets its own id",
    "security/audit/checkpoints.py": "begun by a task that begins with the server, or at its stop",
    "server/main_task.py": "the server itself",
    "runs/runner.py": "begun by a timer, which is in an empty context",
}
"""Modules that may begin something in the context that is there, and why."""


def begun() -> list[tuple[str, int, bool]]:
    """Each such call in the package: its file, its line, and whether it names a context."""
    return [
        (str(path.relative_to(PACKAGE)), node.lineno, any(each.arg == "context" for each in node.keywords))
        for path in sorted(PACKAGE.rglob("*.py"))
        if any(name in (text := path.read_text(encoding="utf-8")) for name in OUTLIVES)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OUTLIVES
    ]


def test_whatever_outlives_the_code_that_began_it_names_its_context():
    """Else a run's variables, its id in the log among them, go on in what other callers use."""
    found = begun()
    assert [each for each in found if not each[2] and each[0] not in ITS_OWN] == []
    assert ITS_OWN.keys() == {file for file, _, named in found if not named}
