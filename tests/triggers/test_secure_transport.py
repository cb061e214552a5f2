"""Tokens come over https, or straight from this machine: the table of all ways that a request can come."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, select
from starlette.types import ASGIApp
from structlog.testing import capture_logs
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from postern.access import ANYONE
from postern.assembly import Application, create_app
from postern.errors import Problem
from postern.http_client import Response, http_client
from postern.journal.schema import refusals
from postern.local_tenant import LocalTenant
from postern.server.forwarded import one_word, unify
from postern.settings import Settings
from postern.triggers.secure_transport import (
    BY_HTTP,
    BY_PROXY,
    NO_ADDRESS,
    Identification,
    unmapped,
    wrong_with,
)
from tests.pipeline.pipelines import settings_for
from tests.process.servers import until
from tests.server.test_protocol import HOST, Echo, serving
from tests.table import table

pytestmark = pytest.mark.anyio

OUTSIDE, LOCAL, LOCAL_6 = "203.0.113.9", "127.0.0.1", "::1"
HTTPS, HTTP = {"x-forwarded-proto": "https"}, {"x-forwarded-proto": "http"}
OF_OUTSIDE, OF_LOCAL = {"x-forwarded-for": OUTSIDE}, {"x-forwarded-for": "127.0.0.3"}

WAYS: list[tuple[str, str | None, str, dict[str, str], str]] = [
    # scheme, peer, named as a proxy, forwarding fields, what is wrong
    ("https", OUTSIDE, "", {}, ""),
    ("https", LOCAL, "", {}, ""),
    ("https", OUTSIDE, "", HTTP | OF_OUTSIDE, ""),
    ("https", None, "", {}, ""),
    ("http", OUTSIDE, "", {}, BY_HTTP),
    ("http", "fd00::2", "", {}, BY_HTTP),
    ("http", "localhost.example", "", {}, BY_HTTP),
    ("http", "a" * 10_000, "", {}, BY_HTTP),
    ("http", None, "", {}, NO_ADDRESS),
    ("http", None, "127.0.0.1", HTTPS | OF_OUTSIDE, NO_ADDRESS),
    ("http", LOCAL, "", {}, ""),
    ("http", "127.8.9.10", "", {}, ""),
    ("http", LOCAL_6, "", {}, ""),
    ("http", LOCAL, "127.0.0.1", {}, ""),
    # from outside, or by a proxy there, whose word is not believed
    ("http", OUTSIDE, "", HTTPS, BY_PROXY),
    ("http", OUTSIDE, "", HTTPS | OF_LOCAL, BY_PROXY),
    ("http", OUTSIDE, "127.0.0.1", HTTPS | OF_LOCAL, BY_PROXY),
    # by a proxy on this machine that is not named
    ("http", LOCAL, "", HTTPS | OF_OUTSIDE, BY_PROXY),
    ("http", LOCAL, "", HTTPS, BY_PROXY),
    ("http", LOCAL, "", OF_LOCAL, BY_PROXY),
    ("http", LOCAL, "10.0.0.0/8", HTTPS | OF_OUTSIDE, BY_PROXY),
    ("http", LOCAL, "", {"x-real-ip": OUTSIDE}, BY_PROXY),
    ("http", LOCAL, "", {"via": "1.1 proxy"}, BY_PROXY),
    ("http", LOCAL, "", {"forwarded": "for=203.0.113.9;proto=https"}, BY_PROXY),
    ("http", LOCAL, "", {"x-forwarded-host": "postern.example"}, BY_PROXY),
    # by a proxy that is named
    ("http", LOCAL, "127.0.0.1", HTTPS | OF_OUTSIDE, ""),
    ("http", LOCAL, "127.0.0.1", HTTPS, ""),
    ("http", "10.1.2.3", "10.0.0.0/8", HTTPS | OF_OUTSIDE, ""),
    ("http", LOCAL, "127.0.0.1", HTTP | OF_OUTSIDE, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", HTTP | OF_LOCAL, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", OF_OUTSIDE, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "https, http"}, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "http, https"}, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "http, HTTP"}, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "https, https"}, ""),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "HTTPS"}, ""),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "https ,, Https,"}, ""),
    ("http", LOCAL, "", {"x-forwarded-proto": "https, https"}, BY_PROXY),
    ("http", LOCAL, "127.0.0.1", {"x-forwarded-proto": "wss"}, BY_PROXY),
    ("http", "10.1.2.3", "10.0.0.0/8", {}, BY_HTTP),
]
IDS = [f"{scheme} {str(peer)[:20]} named {named or '-'} {fields}" for scheme, peer, named, fields, _ in WAYS]


async def scope_behind(
    scheme: str, peer: str | None, named: str, fields: dict[str, str], token: bool = True
) -> dict[str, Any]:
    """What the application sees of such a request, by uvicorn's own handling of proxies."""
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    headers += [(b"authorization", b"Bearer x")] if token else []
    unify(headers, None)
    scope = {"type": "http", "scheme": scheme, "client": (peer, 4711) if peer else None, "headers": headers}
    seen: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    inner: Any = ProxyHeadersMiddleware(application, [named]) if named else application
    await inner(scope, None, None)
    return seen[0]


@table(("scheme", "peer", "named", "fields", "wrong"), WAYS, ids=IDS)
async def test_the_ways_that_a_token_may_come(scheme, peer, named, fields, wrong):
    """A token over an insecure transport is neither recalled nor verified. Without a token, the usual 401."""
    seen: list[Any] = []

    async def identify(headers: Any) -> Any:
        seen.append(headers)
        return ANYONE

    def recall(authorization: bytes, _: Any) -> None:
        seen.append(authorization)

    identification = Identification(recall, identify)
    scope = await scope_behind(scheme, peer, named, fields)
    assert wrong_with(scope, dict(scope["headers"])) == wrong
    if wrong:
        for ask in (
            lambda: identification.recall(scope, dict(scope["headers"])),
            lambda: identification.identify(scope),
        ):
            with pytest.raises(Problem) as caught:
                ask()
            assert (caught.value.code, caught.value.status, caught.value.reason) == ("insecure-transport", 401, wrong)
        assert seen == []
    else:
        identification.recall(scope, dict(scope["headers"]))
        await identification.identify(scope)
        assert len(seen) == 2
    await identification.identify(await scope_behind(scheme, peer, named, fields, token=False))
    assert [name for name, _ in seen[-1]] == [name.encode() for name in fields]


@pytest.mark.parametrize("said", [("http", "https"), ("https", "http"), ("https", "https,http")])
async def test_a_proxys_word_beside_another_one_is_not_taken(said):
    """A trusted proxy may have put its own beside that of a client."""
    names = [(b"authorization", b"Bearer x"), *((b"x-forwarded-proto", word.encode()) for word in said)]
    identification = Identification(lambda *_: None, lambda _: pytest.fail("looked at the token"))
    with pytest.raises(Problem) as caught:
        identification.identify({"scheme": "https", "client": (LOCAL, 4711), "headers": names})
    assert caught.value.reason == BY_PROXY


class Whence(Echo):
    """Keeps the clients and schemes that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, scope, receive, send):
        self.seen.append((scope["client"][0], scope["scheme"]))
        await super().__call__(scope, receive, send)


async def test_a_proxy_that_is_named_by_ipv4_is_known_by_a_server_that_listens_on_both_kinds_of_addresses():
    """There the system shows it as `::ffff:127.0.0.1`."""
    app = Whence()
    async with serving(app=app, host="::", trusted_proxies=["127.0.0.0/8"]) as running:
        for fields in (b"", b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"):
            await running.ask(b"GET /1 HTTP/1.1\r\nConnection: close\r\n" + HOST + fields + b"\r\n")
    assert app.seen == [(LOCAL, "http"), (OUTSIDE, "https")]
    assert [unmapped(peer) for peer in (None, ("::1", 1), ("::ffff:10.0.0.7", 2))] == [
        None,
        ("::1", 1),
        ("10.0.0.7", 2),
    ]


async def test_a_proxy_of_a_chain_is_known_where_another_one_wrote_its_ipv4_address_as_ipv6():
    """Else it would pass for the client, which is inside of every network that the proxy is in."""
    app = Whence()
    chain = b"X-Forwarded-For: 203.0.113.9, ::ffff:10.0.0.5\r\n"
    async with serving(app=app, trusted_proxies=["127.0.0.1", "10.0.0.5"]) as running:
        await running.ask(b"GET /1 HTTP/1.1\r\nConnection: close\r\n" + HOST + chain + b"\r\n")
    assert app.seen == [(OUTSIDE, "http")]


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        (("https, https",), "https"),
        (("HTTPS",), "https"),
        (("https", "HTTPS, https"), "https"),
        (("https, http",), "http"),
        (("http, https",), "http"),
    ],
)
async def test_the_values_of_a_chain_of_proxies_count_as_one_if_they_agree(said: tuple[str, ...], scheme: str):
    """In one field or in several, as the server reads them from the wire."""
    app = Whence()
    fields = "".join(f"X-Forwarded-Proto: {word}\r\n" for word in said).encode()
    async with serving(app=app, trusted_proxies=["127.0.0.1"]) as running:
        await running.ask(b"GET /1 HTTP/1.1\r\nConnection: close\r\n" + HOST + fields + b"\r\n")
    assert app.seen == [(LOCAL, scheme)]


@given(st.lists(st.sampled_from([b"https", b"HTTPS", b"http", b"ws", b"", b" "]), min_size=1))
def test_a_list_becomes_one_word_only_if_all_its_members_agree(words: list[bytes]):
    said = {word.strip().lower() for word in words} - {b""}
    value = b",".join(words)
    assert one_word(value) == (said.pop() if len(said) == 1 else value)


WORKFLOWS = """
from postern import anonymous, specific_users, tenant_users, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "came in"

@workflow(access=tenant_users())
async def whoami(ctx):
    return "came in"

@workflow(access=specific_users("lisa"))
async def payroll(ctx):
    return "came in"
"""


@pytest.fixture
def settings(local_tenant: LocalTenant, tmp_path: Path) -> Settings:
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    return settings_for(local_tenant, tmp_path, trusted_proxies=["127.0.0.9"])


@contextmanager
def from_address(app: ASGIApp, address: str) -> Iterator[Any]:
    """Ask the application from this address."""
    behind: Any = ProxyHeadersMiddleware(app, ["127.0.0.9"])  # type: ignore[arg-type]

    async def ask(method: str, path: str, token: str = "", **fields: str) -> Response:
        transport = ASGITransport(behind, client=(address, 4711))
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        async with http_client(base_url="http://postern.test", transport=transport) as client:
            return await client.request(method, path, headers=headers)

    yield ask


GUARDED = [
    ("POST", "/triggers/whoami"),
    ("POST", "/triggers/payroll"),
    ("GET", "/runs"),
    ("GET", "/refusals"),
    ("GET", "/workflows"),
    ("GET", "/audit"),
    ("GET", "/audit/state"),
]


@pytest.mark.process
async def test_every_page_that_looks_at_tokens_refuses_them_over_plain_http(settings: Settings, local_tenant):
    """With a constant sentence and a challenge, also where the token is known; without a token all is as it was."""
    app = create_app(settings)
    token = local_tenant.token("lisa", roles=["Postern.Operator"])
    async with app.router.lifespan_context(app):
        with from_address(app, "127.0.0.1") as local, from_address(app, "127.0.0.9") as proxy:
            for method, path in GUARDED:
                assert (await local(method, path, token)).status_code == 200
                safe = await proxy(method, path, token, x_forwarded_for=OUTSIDE, x_forwarded_proto="https")
                assert safe.status_code == 200
        run_id = (await _ask(app, "127.0.0.1", "POST", "/triggers/hello")).headers["x-run-id"]
        own_id = (await _ask(app, "127.0.0.1", "POST", "/triggers/whoami", token)).headers["x-run-id"]
        with from_address(app, OUTSIDE) as outside:
            of_runs = [("GET", f"/runs/{run_id}"), ("GET", f"/runs/{run_id}/tree"), ("GET", f"/runs/{own_id}/result")]
            of_runs += [("POST", f"/runs/{own_id}/cancel"), ("POST", f"/runs/{own_id}/resubmit")]
            for method, path in [*GUARDED, *of_runs, ("GET", "/openapi.json"), ("GET", "/docs")]:
                refused = await outside(method, path, token)
                assert (refused.status_code, refused.json()["code"]) == (401, "insecure-transport")
                assert refused.json()["detail"] == "Access tokens are accepted over https only."
                assert refused.headers["www-authenticate"] == 'Bearer error="invalid_request"'
            for method, path in GUARDED:
                assert (await outside(method, path)).json()["code"] == "unauthenticated"
            assert (await outside("GET", f"/runs/{run_id}")).status_code == 200
            assert (await outside("POST", "/triggers/hello", token)).text == '"came in"'
            assert (await outside("POST", "/triggers/nothing", token)).status_code == 404


@pytest.mark.process
async def test_the_refusal_is_on_record_with_what_to_do_and_with_nothing_of_the_token(settings: Settings, local_tenant):
    app = create_app(settings)
    token = local_tenant.token("lisa")
    engine = create_engine(settings.database_url)
    with capture_logs() as lines:
        async with app.router.lifespan_context(app):
            await _ask(app, OUTSIDE, "POST", "/triggers/payroll", token)
            await _ask(app, "127.0.0.1", "GET", "/runs", token, x_forwarded_for=OUTSIDE)
        with engine.connect() as connection:
            rows = until(lambda: [dict(row) for row in connection.execute(select(refusals)).mappings()])
    engine.dispose()
    found = {row["workflow"]: row for row in rows}
    assert {name: (row["reason"], row["code"], row["client_address"]) for name, row in found.items()} == {
        "payroll": ("insecure-transport", "insecure-transport", OUTSIDE),
        "": ("insecure-transport", "insecure-transport", "127.0.0.1"),
    }
    reasons = [line["reason"] for line in lines if line["event"] == "request-refused"]
    assert reasons == [BY_HTTP, "insecure-transport"]
    for name, wrong in (("payroll", BY_HTTP), ("", BY_PROXY)):
        assert json.loads(found[name]["checks"])[0]["found"] == wrong
        assert "POSTERN_TRUSTED_PROXIES" in wrong
        assert not found[name]["claimed"]
    assert not [part for part in token.split(".") if part[:20] in str(rows) + str(lines)]


async def _ask(app: Application, address: str, *path: str, **fields: str) -> Response:
    with from_address(app, address) as ask:
        answer: Response = await ask(*path, **fields)
        return answer
