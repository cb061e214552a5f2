"""Two real server processes and an agent with the SDK's client, in both eras: any process answers, and a stop cuts no
call off."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from postern.local_tenant import LocalTenant
from tests.mcp.installation import ERAS, LEGACY, headed, message
from tests.process.servers import Server, running, settings_of, until

pytestmark = pytest.mark.anyio

WORKFLOWS = '''
import asyncio
from pathlib import Path
from postern import Context, specific_users, tenant_users, workflow

@workflow(access=tenant_users(), tool=True)
async def greet(ctx: Context, body: str) -> str:
    """Greet by name."""
    return f"Hello {body}"

@workflow(access=specific_users("lisa"), tool=True)
async def hers(ctx: Context) -> str:
    """For Lisa."""
    return "Lisa"

@workflow(access=tenant_users(), tool=True)
async def slow(ctx: Context, body: str) -> str:
    """Take a second, and say when it began."""
    Path(body).write_text("begun")
    await asyncio.sleep(1)
    return "slow and whole"
'''


def slow_call(era: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The message and the header fields of a call that writes this file when it begins."""
    call = {"name": "slow", "arguments": {"body": str(path)}}
    if era == LEGACY:
        fields = headed("tools/call", "slow") | {"MCP-Protocol-Version": LEGACY}
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}, fields
    return message("tools/call", call), headed("tools/call", "slow")


async def calls(server: Server, local: LocalTenant, era: str, who: str) -> list[str]:
    """The tools of this person, after some calls on new connections, which any process takes."""
    headers = {"Authorization": f"Bearer {local.token(who)}", "Connection": "close"}
    mode: Any = "legacy" if era == LEGACY else era
    http = httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20)
    transport = streamable_http_client(f"{server.address}/mcp", http_client=http)
    async with http, Client(transport, mode=mode) as agent:
        for _ in range(4):
            result = await agent.call_tool("greet", {"body": who})
            assert result.structured_content == {"result": f"Hello {who}"}
        return [tool.name for tool in (await agent.list_tools()).tools]


async def test_any_process_answers_and_a_stop_cuts_no_call_off(tmp_path: Path, local_tenant: LocalTenant):
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "tools.py").write_text(WORKFLOWS, encoding="utf-8")
    environ = settings_of(local_tenant, folder) | {"POSTERN_PUBLIC_URL": "https://postern.test"}
    (tmp_path / "postern.toml").write_text(f'[people]\nlisa = "{local_tenant.people["lisa"]}"\n', encoding="utf-8")
    with running("serve --workers 2", tmp_path, environ) as server:
        for era in ERAS:
            assert await calls(server, local_tenant, era, "lisa") == ["greet", "hers", "slow"]
            assert await calls(server, local_tenant, era, "ada") == ["greet", "slow"]
        fields = {"Authorization": f"Bearer {local_tenant.token('lisa')}"}
        async with httpx2.AsyncClient(base_url=server.address, headers=fields, trust_env=False, timeout=20) as http:
            open_calls = []
            for era in ERAS:
                begun = tmp_path / f"begun-{era}"
                body, more = slow_call(era, begun)
                open_calls.append(asyncio.create_task(http.post("/mcp", json=body, headers=more)))
                await asyncio.to_thread(until, begun.exists)
            stopped = asyncio.create_task(asyncio.to_thread(server.stop))
            answers = await asyncio.gather(*open_calls)
        assert all("slow and whole" in answer.text for answer in answers)
        assert await stopped == 0
        assert "Traceback" not in server.output
