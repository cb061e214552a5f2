"""What serves tools is loaded once, in a thread, when there is a tool. What is missing for it is in the log."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.routing import Route

from postern.assembly import create_app, mcp
from postern.assembly.mcp import Agents, Page
from postern.assembly.mcp_served import Served
from postern.settings import load_settings
from tests.pipeline.pipelines import defaults_for

pytestmark = pytest.mark.anyio

TOOL = """
from postern import Context, anonymous, workflow

@workflow(access=anonymous(), tool=True)
async def hello(ctx: Context) -> str:
    \"\"\"Say hello.\"\"\"
    return "Hello"
"""


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """An endpoint that answers with nothing."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def runs() -> AsyncIterator[None]:
    yield


class Making:
    """Makes what serves tools, or fails, and notes in which thread."""

    def __init__(self) -> None:
        self.fails = False
        self.made_in: list[int] = []
        self.drained = 0

    def __call__(self) -> Served:
        self.made_in.append(threading.get_ident())
        if self.fails:
            raise ImportError("no such package")
        return Served(answers, answers, runs, self.drain)

    def drain(self) -> None:
        self.drained += 1


@asynccontextmanager
async def client_of(agents: Agents) -> AsyncIterator[AsyncClient]:
    app = Starlette(routes=[Route("/mcp", Page(agents, lambda served: served.endpoint))])
    async with AsyncClient(transport=ASGITransport(app), base_url="http://postern.test") as client:
        yield client


async def test_nothing_is_loaded_before_there_is_a_tool_and_then_once_in_a_thread():
    making, has_tools = Making(), False
    agents = Agents(lambda: has_tools, making)
    async with client_of(agents) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(agents.run)
        assert (await client.post("/mcp")).status_code == 404
        assert making.made_in == []
        has_tools = True
        agents.look()
        found = await asyncio.gather(*(client.post("/mcp") for _ in range(5)))
        assert {answer.status_code for answer in found} == {204}
        assert len(making.made_in) == 1
        assert making.made_in != [threading.get_ident()]
        agents.drain()
        assert making.drained == 1
        tasks.cancel_scope.cancel()


async def test_a_request_does_not_wait_for_what_cannot_be_loaded():
    making = Making()
    making.fails = True
    agents = Agents(lambda: True, making)
    async with client_of(agents) as client:
        waiting = asyncio.create_task(client.post("/mcp"))
        await asyncio.sleep(0)
        with pytest.raises(ImportError):
            await agents.run()
        assert (await waiting).json()["code"] == "internal-error"
        assert (await client.post("/mcp")).json()["code"] == "internal-error"
        making.fails = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agents.run)
            with anyio.fail_after(10):
                while (await client.post("/mcp")).status_code != 204:
                    await asyncio.sleep(0.005)
            tasks.cancel_scope.cancel()


def test_the_log_says_what_tools_need_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "module.py").write_text(TOOL, encoding="utf-8")
    values = defaults_for(tmp_path) | {"tenant_id": "00000000-0000-0000-0000-000000000001"}
    create_app(load_settings({}, folder=tmp_path, defaults=values))
    said = capsys.readouterr().out
    assert "mcp-without-sign-in" in said
    assert "POSTERN_PUBLIC_URL" in said
    monkeypatch.setattr(mcp, "find_spec", lambda _: None)
    create_app(load_settings({}, folder=tmp_path, defaults=values))
    assert "install postern-workflows[mcp]" in capsys.readouterr().out
