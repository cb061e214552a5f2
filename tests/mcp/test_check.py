"""`postern mcp check` says at which stage a client fails, why, and what to do; and shows no token."""

import json
from typing import Any

import pytest
from httpx2 import AsyncClient, ConnectError, MockTransport, Request, Response
from mcp_types import ListToolsRequest

from postern.mcp.check import NotListed, Stage, check, tools_at
from postern.mcp.messages import NoList, challenge_of, request_for_tools, tools_in
from tests.table import table

pytestmark = pytest.mark.anyio

BASE = "https://flows.example"
URL = f"{BASE}/mcp"
ISSUER = "https://login.example/tenant/v2.0"
PLACE = f"{BASE}/.well-known/oauth-protected-resource/mcp"
CONFIGURATION = f"{ISSUER}/.well-known/openid-configuration"
CHALLENGE = f'Bearer resource_metadata="{PLACE}", scope="{URL}/.default"'
METADATA = {"resource": URL, "authorization_servers": [ISSUER], "scopes_supported": [f"{URL}/.default"]}
ENDPOINTS = {"authorization_endpoint": f"{ISSUER}/a", "token_endpoint": f"{ISSUER}/t"}
TOKEN = "header.payload.signature"
TOOLS = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "book"}, {"name": "report"}]}}


def events(*messages: Any) -> Response:
    text = "".join(f"event: message\r\ndata: {json.dumps(each)}\r\n\r\n" for each in messages)
    return Response(200, headers={"content-type": "text/event-stream"}, text=text)


PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress"}
GOOD: dict[str, Response] = {
    "without": Response(401, headers={"www-authenticate": CHALLENGE}),
    "with": events(PROGRESS, TOOLS),
    PLACE: Response(200, json=METADATA),
    CONFIGURATION: Response(200, json=ENDPOINTS),
}


def client(replies: dict[str, Response | None]) -> AsyncClient:
    """A client of servers that give these replies. None is a server that cannot be reached."""

    def answer(request: Request) -> Response:
        key = str(request.url)
        if key == URL:
            key = "with" if request.headers.get("authorization") == f"Bearer {TOKEN}" else "without"
            assert request.headers["mcp-method"] == json.loads(request.content)["method"] == "tools/list"
        else:
            assert "authorization" not in request.headers, "the token is for /mcp alone"
        found = replies[key]
        if found is None:
            raise ConnectError("no route", request=request)
        return Response(found.status_code, headers=found.headers, content=found.content)

    return AsyncClient(transport=MockTransport(answer))


async def stages(token: str | None, /, **changed: Response | None) -> list[Stage]:
    names = {"metadata": PLACE, "configuration": CONFIGURATION, "none": "without", "token_reply": "with"}
    replies: dict[str, Response | None] = {**GOOD, **{names[name]: reply for name, reply in changed.items()}}
    async with client(replies) as made:
        return [stage async for stage in check(made, URL, token)]


async def test_all_stages_are_well():
    found = await stages(TOKEN)
    assert [(each.name, each.state) for each in found] == [
        ("challenge", "ok"),
        ("metadata", "ok"),
        ("sign-in", "ok"),
        ("list", "ok"),
    ]
    assert found[3].detail == "2 tools: book, report"
    assert f"{URL}/.default" in found[2].detail
    assert f"identifier URI {URL}," in found[2].detail


async def test_without_a_token_the_list_is_skipped_with_the_command_that_gets_one():
    [*_, last] = await stages(None)
    assert (last.name, last.state) == ("list", "skipped")
    assert f"az account get-access-token --scope {URL}/.default" in last.fix


async def test_a_server_without_a_tenant_needs_no_token():
    found = await stages(None, none=events(TOOLS))
    assert [(each.name, each.state) for each in found] == [("challenge", "ok"), ("list", "ok")]


def problem(status: int, detail: str) -> Response:
    return Response(status, json={"status": status, "detail": detail})


def described(**changed: Any) -> Response:
    return Response(200, json=METADATA | changed)


BASIC = Response(401, headers={"www-authenticate": "Basic realm=x"})
NO_SIGN_IN = Response(200, json={"token_endpoint": "x"})
BARE = described(scopes_supported=["flows"])
SLASH = described(resource=f"{URL}/")
ERROR = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32020, "message": "Header mismatch"}}
EXPIRED = Response(
    401, headers={"www-authenticate": 'Bearer error="invalid_token", error_description="It expired, so renew."'}
)


@table(
    "changed, name, detail, fix",
    [
        ({"none": None}, "reach", "cannot be reached: ConnectError", "Check the address"),
        ({"none": problem(404, "There is nothing.")}, "challenge", "404: There is nothing", "Write tool=True"),
        ({"none": problem(403, "Not this origin.")}, "challenge", "403: Not this origin.", "look at /refusals"),
        ({"none": Response(405)}, "challenge", "405: no details", "does not take POST here"),
        ({"none": Response(502, text="<html>")}, "challenge", "502: no details", "of the proxy"),
        ({"none": Response(401)}, "challenge", "does not name resource_metadata and scope", "Set POSTERN_PUBLIC_URL"),
        ({"none": BASIC}, "challenge", "does not name", "let the proxy pass"),
        ({"metadata": None}, "metadata", "cannot be reached", "pass /.well-known/oauth-protected-resource on"),
        ({"metadata": Response(404)}, "metadata", "answered 404", "pass /.well-known/oauth-protected-resource on"),
        ({"metadata": SLASH}, "metadata", f"the resource is {URL}/", f"Give clients {URL}/, or correct"),
        ({"metadata": described(authorization_servers=[])}, "metadata", "no authorization server", "_TENANT_ID"),
        ({"metadata": BARE}, "metadata", "AADSTS9010010", "rewrite the metadata"),
        ({"metadata": described(scopes_supported=None)}, "metadata", "(none)", "rewrite the metadata"),
        ({"configuration": None}, "sign-in", "cannot be reached", "Check POSTERN_TENANT_ID"),
        ({"configuration": NO_SIGN_IN}, "sign-in", "has no authorization_endpoint", "POSTERN_AUTHORITY"),
        ({"token_reply": EXPIRED}, "list", "401: It expired, so renew.", "`postern explain` shows each check"),
        ({"token_reply": events(ERROR)}, "list", "the server says Header mismatch", "Is this the /mcp"),
        ({"token_reply": Response(200, text="hello")}, "list", "no list of tools", "Is this the /mcp"),
        ({"token_reply": Response(400, json=ERROR)}, "list", "400: Header mismatch", "Look at the log"),
    ],
)  # fmt: skip
async def test_each_failure_has_its_cause_and_its_fix(
    changed: dict[str, Response | None], name: str, detail: str, fix: str
):
    found = await stages(TOKEN, **changed)
    failed = [each for each in found if each.state == "failed"]
    assert [each.name for each in failed] == [name]
    assert detail in failed[0].detail
    assert fix in failed[0].fix
    assert TOKEN not in str(found)


async def test_a_caller_without_a_tool_is_a_warning():
    [*_, last] = await stages(TOKEN, token_reply=events({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}))
    assert (last.name, last.state) == ("list", "warning")


async def test_a_list_of_several_pages_is_read_to_its_end():
    pages = iter([("a", "next"), ("b", None)])

    def answer(request: Request) -> Response:
        name, cursor = next(pages)
        assert json.loads(request.content)["params"].get("cursor") == (None if name == "a" else "next")
        return Response(200, json={"id": 1, "result": {"tools": [{"name": name}], "nextCursor": cursor}})

    async with AsyncClient(transport=MockTransport(answer)) as made:
        assert [each["name"] for each in await tools_at(made, URL, None)] == ["a", "b"]


async def test_an_unreachable_server_lists_nothing():
    async with client({"without": None}) as made:
        with pytest.raises(NotListed, match="cannot be reached"):
            await tools_at(made, URL, None)


@table(
    "value, found",
    [
        ('Bearer a="1", b="x, y=z"', {"a": "1", "b": "x, y=z"}),
        ('bearer realm="", error="e"', {"realm": "", "error": "e"}),
        ("Bearer", {}),
        ("", {}),
        ('Basic realm="x"', {}),
    ],
)
async def test_a_challenge_is_read(value: str, found: dict[str, str]):
    assert challenge_of(value) == found


@table("content", [b"", b"[]", b'{"id":1,"result":{"tools":[1]}}', b'{"id":1,"result":[]}', b"\xff"])
async def test_what_has_no_list_is_said(content: bytes):
    for kind in ("application/json", "text/event-stream"):
        with pytest.raises(NoList):
            tools_in(kind, content)


async def test_the_message_is_one_of_the_revision():
    """By the SDK's own model of a request."""
    sent = json.loads(request_for_tools("x"))
    assert ListToolsRequest.model_validate({"method": sent["method"], "params": sent["params"]}).params is not None
