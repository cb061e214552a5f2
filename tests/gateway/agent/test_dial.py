"""Connecting to the server: TLS, proxies, and what each failure says."""

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import jwt
import pytest
import trustme
from websockets.exceptions import InvalidStatus

from postern.gateway.agent.check import Stage, check
from postern.gateway.agent.dial import DialFault, Dialled, dial, fault_of
from postern.gateway.agent.settings import AgentSettings
from postern.gateway.agent.sign_in import SignInFault, Token, clock_ahead
from tests.connections.test_proxy import tunnelling
from tests.gateway.agent.nodes import cluster
from tests.gateway.agent.targets import target
from tests.gateway.agent.test_agent import FewTokens, settings
from tests.gateway.agent.test_tunnels import echo, row, unused_port
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TOKEN = Token("secret-token", time.time() + 3600)


def context(authority: trustme.CA, name: str = "127.0.0.1", **more: Any) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **more).configure_cert(made)
    return made


async def fault(given: AgentSettings, url: str) -> DialFault:
    with pytest.raises(DialFault) as caught:
        await dial(given, url, TOKEN)
    assert "secret-token" not in repr(caught.value.args)
    return caught.value


async def test_tls_is_verified_by_the_ca_bundle_and_the_proxy_of_the_file_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setattr("postern.proxy.is_loopback", lambda host: False)
    authority = trustme.CA(organization_name="Corp")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with cluster("one", tls=context(authority)) as at:
        found = await fault(settings(at.url), at.url)
        assert "its authority is unknown" in found.wrong
        assert "inspecting proxy" in found.fix
        own = settings(at.url, ca_bundle=tmp_path / "ca.pem")
        await (await dial(own, at.url, TOKEN)).aclose()
        async with tunnelling(port=int(at.url.rpartition(":")[2])) as proxy:
            through = settings(at.url, ca_bundle=tmp_path / "ca.pem", proxy=proxy.url)
            await (await dial(through, at.url, TOKEN)).aclose()
            assert proxy.asked == [f"CONNECT {at.url.removeprefix('https://')} HTTP/1.1"]
    assert set(at.nodes[0].tokens) == {"secret-token"}


@table("dates, text", [((-9, -1), "it has expired"), ((1, 9), "it is not valid yet")])
async def test_a_certificate_of_another_time_points_to_the_clock(dates: tuple[int, int], text: str, tmp_path: Path):
    authority, now = trustme.CA(), datetime.now(UTC)
    authority.cert_pem.write_to_path(tmp_path / f"{dates[0]}.pem")
    limits: dict[str, Any] = {"not_before": now + timedelta(dates[0]), "not_after": now + timedelta(dates[1])}
    async with cluster("one", tls=context(authority, **limits)) as at:
        found = await fault(settings(at.url, ca_bundle=tmp_path / f"{dates[0]}.pem"), at.url)
    assert text in found.wrong
    assert "clock" in found.fix


@table(
    "status, text",
    [
        (
            HTTPStatus.UNAUTHORIZED,
            "rejects the token (401): the role is missing. Give the agent's application the role",
        ),
        (HTTPStatus.NOT_FOUND, "has no gateway madrid (404). Write [gateways.madrid]"),
        (HTTPStatus.FOUND, "redirects (302)"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "answered 503"),
        (HTTPStatus.BAD_REQUEST, "passes WebSockets (Upgrade)"),
    ],
)
async def test_each_answer_of_the_server_says_what_to_do(status: HTTPStatus, text: str):
    async with cluster("one") as at:
        at.nodes[0].reject = status
        assert text in str(await fault(settings(at.url), at.url))


@table(
    "status, text",
    [(407, "asks for a sign-in (407)"), (403, "does not connect (403)"), (502, "does not connect (502)")],
)
async def test_a_proxy_that_rejects_is_named(status: int, text: str):
    async with tunnelling(status=status) as proxy:
        found = await fault(settings("https://postern.example", proxy=proxy.url), "https://postern.example")
    assert f"the proxy {proxy.url} {text}" in found.wrong
    assert "planted" not in str(found)


async def test_a_server_or_proxy_that_is_not_there_is_named():
    url = f"http://127.0.0.1:{unused_port()}"
    assert "refuses connections" in str(await fault(settings(url), url))
    own = settings("https://postern.example", proxy=url)
    assert f"{url} refuses connections" in str(await fault(own, "https://postern.example"))


async def test_a_server_that_speaks_another_version_is_named():
    from websockets.asyncio.server import serve

    async def nothing(connection: Any) -> None:
        await connection.wait_closed()

    async with serve(nothing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert "does not speak postern-gateway.1" in str(await fault(settings(url), url))


async def test_a_connection_that_is_cut_points_to_proxies():
    async with target(lambda stream: stream.aclose()) as port:
        url = f"http://127.0.0.1:{port}"
        assert "no proxy or balancer on the way cuts WebSockets" in str(await fault(settings(url), url))


def test_a_name_without_an_address_is_named():
    error = socket.gaierror(socket.EAI_NONAME, "x")
    own = settings("https://postern.example", proxy="http://proxy.corp:1")
    for proxied, name in ((False, "postern.example"), (True, "http://proxy.corp:1")):
        found = fault_of(error, own, "postern.example", began=0, now=0, proxied=proxied)
        assert found.wrong == f"DNS has no address of {name}"


def test_a_wrong_clock_is_named_where_a_token_is_rejected():
    now = time.time()
    date = format_datetime(datetime.fromtimestamp(now - 600, UTC), usegmt=True)
    response: Any = SimpleNamespace(status_code=401, headers={"Date": date}, body=b"")
    own = settings("https://postern.example")
    found = fault_of(InvalidStatus(response), own, "postern.example", began=now, now=now, proxied=False)
    assert "this machine's clock is 600 s ahead of that of the server" in found.wrong
    assert "clock" in found.fix
    assert found.rejected


@table("date, expected", [("", None), ("x", None), ("Thu, 01 Jan 1970 00:01:40 GMT", 0.0)])
def test_a_clock_is_compared_as_exactly_as_it_can_be(date: str, expected: float | None):
    assert clock_ahead(date, 100.0, 100.4) == expected


async def stages(given: AgentSettings, tokens: FewTokens | None = None) -> list[Stage]:
    return [stage async for stage in check(given, tokens=tokens or FewTokens())]


async def test_the_check_says_every_stage(tmp_path: Path):
    authority = trustme.CA(organization_name="Corp", organization_unit_name="Inspection")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    silent = unused_port()
    async with target(echo) as port, cluster("one", "two", tls=context(authority)) as at:
        own = settings(at.url, ca_bundle=tmp_path / "ca.pem", allow=(row(port), row(silent)))
        found = {(each.name, each.state): each.detail for each in await stages(own)}
        assert at.nodes[0].hub.connected("madrid") == []
    assert found["DNS", "ok"] == "127.0.0.1 is 127.0.0.1"
    assert "Corp" in found["certificate", "ok"]
    assert found["nodes", "ok"] == "reaches 2 of 2 nodes"
    assert found["role", "failed"] == "the token has no role Postern.Gateway"
    assert f"127.0.0.1:{port}, tunnel: connected" in found["target", "ok"]
    assert "target-refused" in found["target", "failed"]


async def test_the_check_says_why_there_is_no_sign_in_and_goes_on_with_the_targets(tmp_path: Path):
    tokens = FewTokens()
    tokens.fault = SignInFault("Entra rejects the sign-in (AADSTS7000222)", "Make a new one")
    async with target(echo) as port, cluster("one") as at:
        found = await stages(settings(at.url, allow=(row(port),)), tokens)
    assert [each.fix for each in found if each.name == "sign-in"] == ["Make a new one"]
    assert [each.state for each in found if each.name == "target"] == ["ok"]
    assert not [each for each in found if each.name == "link"]


async def test_the_check_warns_of_a_sticky_balancer_and_of_a_file_that_allows_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.check.REACH_SECONDS", 0.3)
    async with cluster("one", "two", choose=lambda nodes: nodes[0]) as at:
        found = {each.name: each for each in await stages(settings(at.url))}
    assert (found["nodes"].state, found["nodes"].detail) == ("warning", "reaches 1 of 2 nodes: sticky balancer")
    assert found["targets"].state == "warning"


async def test_the_check_names_the_proxy_that_rejects(monkeypatch: pytest.MonkeyPatch):
    async with tunnelling(status=407) as proxy:
        found = {each.name: each for each in await stages(settings("https://postern.example", proxy=proxy.url))}
    assert found["proxy"].state == "failed"
    assert f"{proxy.url} rejected the connection (407)" in found["proxy"].detail
    assert "asks for a sign-in" in found["link"].detail


@table("roles, state", [(["Postern.Gateway"], "ok"), (["Postern.Operator"], "failed"), ("Postern.Gateway", "failed")])
async def test_the_check_sees_the_role_and_the_object_id_in_the_token(roles: Any, state: str):
    value = jwt.encode({"oid": "agent-oid", "roles": roles}, "k" * 32, algorithm="HS256")
    tokens = FewTokens(value=value)
    async with cluster("one") as at:
        found = {each.name: each for each in await stages(settings(at.url), tokens)}
    assert found["role"].state == state
    assert "object id agent-oid" in found["sign-in"].detail
    assert value not in str(found)


async def test_messages_are_binary():
    class Text:
        async def recv(self) -> str:
            return "text"

    with pytest.raises(anyio.BrokenResourceError):
        await Dialled(Text()).receive()  # type: ignore[arg-type]
