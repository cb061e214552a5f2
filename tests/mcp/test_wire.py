"""What a request to `/mcp` passes before its message is read, and what the message has to be."""

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from postern.assembly import create_app
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.mcp.installation import (
    ERAS,
    GATE,
    LEGACY,
    PUBLIC_URL,
    Installation,
    eventually,
    headed,
    installation,
    message,
)
from tests.pipeline.pipelines import defaults_for
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = '''
from pydantic import BaseModel
from postern import Context, anonymous, tenant_users, workflow
from tests.mcp.installation import GATE

@workflow(access=anonymous(), tool=True)
async def hello(ctx: Context) -> str:
    """Say hello."""
    GATE.seen.append("hello")
    return "Hello"

@workflow(access=tenant_users(), tool=True)
async def echo(ctx: Context, body: str) -> str:
    """Return what came."""
    GATE.seen.append("echo")
    return body

@workflow(access=tenant_users(scopes=["Orders.Read"]), tool=True)
async def orders(ctx: Context) -> str:
    """List orders."""
    return "none"
'''
METADATA = "/.well-known/oauth-protected-resource"


def call_of(name: str, **arguments: Any) -> tuple[bytes, dict[str, str]]:
    """A call in the new revision: its body and header fields."""
    return json.dumps(message("tools/call", {"name": name, "arguments": arguments})).encode(), headed(
        "tools/call", name
    )


@table("method", ["GET", "HEAD", "DELETE", "PUT", "OPTIONS", "PATCH"])
async def test_only_post_is_a_method_of_mcp(tools: Installation, method: str):
    async with tools.http("lisa") as http:
        answer = await http.request(method, "/mcp", headers={"Origin": PUBLIC_URL, "Host": "postern.test"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@table(
    ("origin", "host", "status"),
    [
        ("https://evil.test", "", 403),
        ("null", "", 403),
        ("", "", 403),
        ("http://postern.test", "", 403),
        ("https://postern.test:444", "", 403),
        ("https://postern.test.evil.test", "", 403),
        ("http://127.0.0.1:1", "", 403),
        ("http://evil.test", "evil.test", 421),
        (PUBLIC_URL, "", 200),
        ("HTTPS://Postern.Test", "", 200),
        ("http://localhost", "localhost", 200),
    ],
)
async def test_a_page_of_another_site_is_rejected_before_its_token_is_read(
    tools: Installation, origin: str, host: str, status: int
):
    GATE.close()
    body, headers = call_of("echo", body="x")
    async with tools.http("lisa") as http:
        more = {"Origin": origin} | ({"Host": host} if host else {})
        answer = await http.post("/mcp", content=body, headers=headers | more)
    assert answer.status_code == status, answer.text
    assert GATE.seen == (["echo"] if status == 200 else [])
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_request_without_a_token_learns_where_to_sign_in(tools: Installation):
    for credential in ({}, {"Authorization": "Bearer garbage"}):
        for name in ("hello", "echo"):
            body, headers = call_of(name, **({"body": "x"} if name == "echo" else {}))
            async with tools.http() as http:
                answer = await http.post("/mcp", content=body, headers=headers | credential)
            assert answer.status_code == 401
            challenge = answer.headers["www-authenticate"]
            assert f'resource_metadata="{PUBLIC_URL}{METADATA}/mcp"' in challenge
            assert f'scope="{PUBLIC_URL}/mcp/.default"' in challenge
            assert challenge.startswith("Bearer ")
            assert ('error="invalid_token"' in challenge) == bool(credential)
    assert GATE.seen == []


async def test_a_rejected_request_is_recorded_once_and_its_body_is_not_read(tools: Installation):
    async with tools.http() as http:
        answer = await http.post("/mcp", content=b"{" * 50, headers=headed("tools/list"))
    assert answer.json()["code"] == "unauthenticated"
    [refusal] = await tools.refused(lambda each: answer.json()["request_id"] in each["request_ids"])
    assert refusal["reason"] == "credentials"
    assert refusal["request_ids"].count(answer.json()["request_id"]) == 1


async def test_the_metadata_name_the_resource_the_issuer_and_the_scope(tools: Installation):
    async with tools.http() as http:
        for path in (METADATA, f"{METADATA}/mcp"):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert answer.json() == {
                "resource": f"{PUBLIC_URL}/mcp",
                "authorization_servers": [f"{tools.local.authority}/{tools.local.tenant_id}/v2.0"],
                "scopes_supported": [f"{PUBLIC_URL}/mcp/.default"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Postern workflows",
            }
        assert (await http.post(METADATA)).status_code == 405
        assert (await http.get(f"{METADATA}/other")).status_code == 404


async def test_plain_http_from_another_machine_is_rejected_as_at_triggers(tools: Installation):
    body, headers = call_of("hello")
    async with tools.http("lisa") as http:
        for path in ("/mcp", "/triggers/echo"):
            answer = await http.post(path, content=body, headers=headers | {"X-Forwarded-For": "192.0.2.1"})
            assert answer.json()["code"] == "insecure-transport", path
    assert GATE.seen == []


async def test_bodies_are_limited_as_at_triggers(tools: Installation):
    limit = tools.app.pipeline.max_body_bytes
    async with tools.http("lisa") as http:
        body, headers = call_of("echo", body="x" * (limit + 20_000))
        answer = await http.post("/mcp", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
        body, headers = call_of("echo", body="x" * limit)
        answer = await http.post("/mcp", content=body, headers=headers)
        assert "body-too-large" in answer.json()["result"]["content"][0]["text"]
        body, headers = call_of("echo", body=[0] * 20_000)
        answer = await http.post("/mcp", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-many-elements")
        body, headers = call_of("echo", body="x")
        answer = await http.post("/mcp", content=body, headers=headers | {"Content-Encoding": "gzip"})
        assert answer.status_code == 415
    assert GATE.seen == []


BAD = [
    (b"", "tools/list", {}, 400),
    (b"{", "tools/list", {}, 400),
    (b"[]", "tools/list", {}, 400),
    (b"null", "tools/list", {}, 400),
    (b'{"jsonrpc": "2.0"}', "tools/list", {}, 400),
    (b'{"a":' * 5000, "tools/list", {}, 400),
    (b"9" * 5000, "tools/list", {}, 400),
    (b"\xff\xfe", "tools/list", {}, 400),
    (json.dumps(message("tools/list")).encode(), "tools/call", {}, 400),
    (json.dumps(message("tools/call", {"name": "hello"})).encode(), "tools/call", {}, 400),
    (json.dumps(message("tools/call", {"name": "hello"})).encode(), "tools/call", {"Mcp-Name": "echo"}, 400),
    (json.dumps(message("tools/call", {"name": "hello"})).encode(), "", {"Mcp-Name": "hello"}, 400),
    (json.dumps(message("nothing/here")).encode(), "nothing/here", {}, 404),
    (json.dumps(message("tools/list")).encode(), "tools/list", {"MCP-Protocol-Version": "2031-01-01"}, 400),
    (json.dumps(message("tools/list")).encode(), "tools/list", {"Accept": "text/html"}, 406),
    (json.dumps(message("tools/list")).encode(), "tools/list", {"Content-Type": "text/plain"}, 400),
]


@table(("body", "method", "more", "status"), BAD)
async def test_a_message_that_contradicts_its_header_fields_or_is_none_runs_nothing(
    tools: Installation, body: bytes, method: str, more: dict[str, str], status: int
):
    async with tools.http("lisa") as http:
        answer = await http.post("/mcp", content=body, headers=headed(method) | more)
    assert answer.status_code == status, answer.text
    assert GATE.seen == []


async def test_a_name_in_base64_or_with_blanks_around_it_is_the_same_name(tools: Installation):
    body, headers = call_of("hello")
    sent = headers | {"Host": "postern.test", "Content-Length": str(len(body)), "Connection": "close"}
    sent["Authorization"] = f"Bearer {tools.local.token('lisa')}"
    for name in ("hello", "=?base64?aGVsbG8=?=", "  hello\t "):
        lines = [f"{field}: {value}\r\n" for field, value in (sent | {"Mcp-Name": name}).items()]
        reader, writer = await asyncio.open_connection("127.0.0.1", tools.port)
        writer.write(("POST /mcp HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode() + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200"), name
        writer.close()


async def test_a_scope_by_name_is_asked_for_and_a_client_that_lacks_one_is_sent_to_get_it(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("named")
    async with installation(local_tenant, folder, MODULE, mcp_scope="Tools.Call") as running:
        async with running.http() as http:
            found = (await http.get(METADATA)).json()["scopes_supported"]
            assert found == [f"{PUBLIC_URL}/mcp/Tools.Call"]
        async with running.http("lisa") as http:
            body, headers = call_of("orders")
            answer = await http.post("/mcp", content=body, headers=headers)
            assert answer.status_code == 403
            challenge = answer.headers["www-authenticate"]
            assert 'error="insufficient_scope"' in challenge
            assert f'scope="{PUBLIC_URL}/mcp/Orders.Read"' in challenge
            assert "resource_metadata=" in challenge
            old = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "orders", "arguments": {}}}
            answer = await http.post("/mcp", json=old, headers=headed("") | {"MCP-Protocol-Version": LEGACY})
            assert answer.status_code == 403
            body, headers = call_of("echo", body="x")
            assert (await http.post("/mcp", content=body, headers=headers)).status_code == 200
        await running.refused(lambda each: (each["workflow"], each["reason"], each["count"]) == ("orders", "scope", 2))
        assert len(await running.refusals()) == 1


async def test_without_a_name_a_missing_scope_is_a_result(tools: Installation):
    async with tools.agent("lisa") as lisa:
        assert (await lisa.call_tool("orders")).is_error


async def test_without_a_tenant_anonymous_tools_need_no_token(tmp_path: Path):
    (tmp_path / "module.py").write_text(MODULE.partition("@workflow(access=tenant_users()")[0], encoding="utf-8")
    app = create_app(load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path)))
    transport = httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app):
        for era in ERAS:
            mode: Any = "legacy" if era == LEGACY else era
            async with httpx2.AsyncClient(base_url="http://127.0.0.1", transport=transport) as http:
                async with Client(streamable_http_client("http://127.0.0.1/mcp", http_client=http), mode=mode) as agent:
                    assert [tool.name for tool in (await agent.list_tools()).tools] == ["hello"]
                    assert (await agent.call_tool("hello")).structured_content == {"result": "Hello"}
                assert (await http.get(METADATA)).status_code == 404


async def test_without_tools_or_switched_off_there_is_nothing_at_mcp(local_tenant: LocalTenant, tmp_path: Path):
    plain = "from postern import Context, workflow\n\n@workflow\nasync def one(ctx: Context) -> str:\n    return ''\n"
    for folder, module, setting in (("none", plain, "on"), ("off", MODULE, "off")):
        (tmp_path / folder).mkdir()
        running = installation(local_tenant, tmp_path / folder, module, mcp=setting)
        async with running as server, server.http("lisa") as http:
            for method in ("GET", "POST", "OPTIONS"):
                assert (await http.request(method, "/mcp")).json()["code"] == "not-found"
            assert (await http.get(METADATA)).status_code == 404
            assert (await http.get(f"{METADATA}/mcp")).status_code == 404


async def test_a_tool_that_is_added_later_is_there_at_once(local_tenant: LocalTenant, tmp_path: Path):
    plain = "from postern import Context, workflow\n\n@workflow\nasync def one(ctx: Context) -> str:\n    return ''\n"
    async with installation(local_tenant, tmp_path, plain) as running:
        (running.folder / "more.py").write_text(MODULE, encoding="utf-8")
        await eventually(lambda: "echo" in running.app.catalog.snapshot.triggers)
        async with running.agent("lisa") as lisa:
            assert [tool.name for tool in (await lisa.list_tools()).tools] == ["echo", "hello"]
        (running.folder / "more.py").unlink()
        await eventually(lambda: "echo" not in running.app.catalog.snapshot.triggers)
        async with running.http("lisa") as http:
            assert (await http.post("/mcp")).status_code == 404


async def test_no_reply_may_be_stored_in_either_era(tools: Installation):
    old = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with tools.http("lisa") as http:
        for body, fields in (
            (message("tools/list"), headed("tools/list")),
            (message("nothing"), headed("nothing")),
            (old, headed("") | {"MCP-Protocol-Version": LEGACY}),
        ):
            answer = await http.post("/mcp", json=body, headers=fields)
            assert answer.headers.get_list("cache-control") == ["no-store"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await http.get(METADATA)).headers["cache-control"] == "no-store"


@table("version", ["1.0", "1.1"])
async def test_a_stream_of_events_is_framed_as_the_version_of_its_client_has_it(tools: Installation, version: str):
    old = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).encode()
    for kept in ("keep-alive", "close"):
        fields = headed("") | {"MCP-Protocol-Version": LEGACY, "Host": "postern.test", "Connection": kept}
        fields |= {"Authorization": f"Bearer {tools.local.token('lisa')}", "Content-Length": str(len(old))}
        reader, writer = await asyncio.open_connection("127.0.0.1", tools.port)
        lines = "".join(f"{field}: {value}\r\n" for field, value in fields.items())
        writer.write(f"POST /mcp HTTP/{version}\r\n{lines}\r\n".encode() + old)
        with anyio.fail_after(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            ends = version == "1.0" or kept == "close"
            rest = await (reader.read() if ends else reader.readuntil(b"0\r\n\r\n"))
        writer.close()
        assert "content-type: text/event-stream" in head
        assert head.count("connection: ") == (1 if ends else 0), head
        assert ("transfer-encoding: chunked" in head) == (version == "1.1")
        assert rest.startswith(b"event: message") == (version == "1.0")
        assert b'"echo"' in rest
