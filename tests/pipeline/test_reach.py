"""From where requests may come, through a whole application: networks of clients, and pages of other origins (CORS)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from httpx2 import ASGITransport
from sqlalchemy import create_engine, select
from structlog.testing import capture_logs
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from postern.assembly import Application, create_app
from postern.errors import PROBLEMS
from postern.http_client import AsyncClient, Response, http_client
from postern.journal.schema import refusals
from postern.local_tenant import LocalTenant
from postern.settings import Settings
from postern.triggers.client_network import BY_PROXY, NO_ADDRESS
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

PROXY, OFFICE, OFFICE_6, HOME, HOME_6 = "192.0.2.1", "10.1.2.3", "2001:db8::7", "203.0.113.9", "2001:db9::7"
APP, OTHER = "https://app.example", "https://other.example"

MODULE = f"""
from postern import Problem, Reply, anonymous, tenant_users, workflow

@workflow(access=tenant_users(), networks=["10.0.0.0/8", "2001:db8::/32"])
async def office(ctx):
    return ctx.request.client_address

@workflow(access=anonymous(), networks=["10.0.0.0/8", "2001:db8::/32"], origins=["{APP}"])
async def door(ctx):
    return "came in"

@workflow(access=anonymous())
async def open(ctx):
    return "came in"

@workflow(access=tenant_users(), methods=["GET", "POST"], path="/{{number}}", origins=["{APP}", "http://localhost:5173"])
async def orders(ctx, number: int):
    if number == 9:
        raise Problem(409, "Sold out.")
    return Reply(201, number, {{"X-Shelf": "7"}})

@workflow(access=anonymous(), origins=["*"])
async def anywhere(ctx):
    return "came in"

@workflow(access=anonymous(), methods=["POST", "OPTIONS"], origins=["{APP}"])
async def itself(ctx):
    return Reply(200, ctx.request.method, {{"Access-Control-Allow-Origin": "https://mine.example"}})
"""


@dataclass(frozen=True)
class Served:
    """The application, asked from any address."""

    app: Application
    settings: Settings

    async def ask(self, method: str, path: str, at: str | None = OFFICE, **headers: str) -> Response:
        """One request of a client at this address."""
        behind: Any = ProxyHeadersMiddleware(cast("Any", self.app), [PROXY])
        transport = ASGITransport(behind, client=(at, 4711) if at is not None else cast("Any", None))
        async with http_client(base_url="https://postern.test", transport=transport) as client:
            return await _request(client, method, path, headers)


async def _request(client: AsyncClient, method: str, path: str, headers: dict[str, str]) -> Response:
    return await client.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})


@asynccontextmanager
async def serving(local: LocalTenant, folder: Path, **settings: Any) -> AsyncIterator[Served]:
    """The application with these workflows."""
    (folder / "workflows.py").write_text(MODULE, encoding="utf-8")
    made = settings_for(local, folder, trusted_proxies=[PROXY], **settings)
    app = create_app(made)
    assert not app.catalog.snapshot.faults
    async with app.router.lifespan_context(app):
        yield Served(app, made)


@pytest.fixture
async def served(local_tenant: LocalTenant, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(local_tenant, tmp_path) as served:
        yield served


def code_of(response: Response) -> str:
    """The outcome of a request, as one word."""
    return "in" if response.status_code == 200 else f"{response.status_code} {response.json()['code']}"


OUTSIDE_401 = "401 unauthenticated"

PLACES: list[tuple[str | None, dict[str, str], str]] = [
    (OFFICE, {}, "in"),
    (OFFICE_6, {}, "in"),
    (f"::ffff:{OFFICE}", {}, "in"),
    (HOME, {}, OUTSIDE_401),
    (HOME_6, {}, OUTSIDE_401),
    (f"::ffff:{HOME}", {}, OUTSIDE_401),
    (None, {}, OUTSIDE_401),
    (None, {"x_forwarded_for": OFFICE}, OUTSIDE_401),
    # a trusted proxy says whence
    (PROXY, {"x_forwarded_for": OFFICE}, "in"),
    (PROXY, {"x_forwarded_for": f"{OFFICE}:4711"}, "in"),
    (PROXY, {"x_forwarded_for": f"[{OFFICE_6}]:4711"}, "in"),
    (PROXY, {"x_forwarded_for": HOME}, OUTSIDE_401),
    (PROXY, {"x_forwarded_for": f"{OFFICE}, {HOME}"}, OUTSIDE_401),
    (PROXY, {"x_forwarded_for": f"{HOME}, {OFFICE}"}, "in"),
    (PROXY, {"x_forwarded_for": "unknown"}, OUTSIDE_401),
    (PROXY, {}, OUTSIDE_401),
    # another one does not
    (HOME, {"x_forwarded_for": OFFICE}, OUTSIDE_401),
    (HOME, {"forwarded": f"for={OFFICE}", "x_real_ip": OFFICE}, OUTSIDE_401),
    (OFFICE, {"x_forwarded_for": HOME}, "in"),
]


async def test_only_these_networks_reach_the_workflow(served: Served):
    """In any access mode, by the address that trusted proxies report."""
    for at, headers, expected in PLACES:
        assert code_of(await served.ask("POST", "/triggers/door", at, **headers)) == expected, (at, headers)


async def test_a_method_that_the_workflow_does_not_have_is_not_told_to_another_network(served: Served):
    """Nor may a page there read that."""
    for method in ("DELETE", "OPTIONS"):
        outside = await served.ask(method, "/triggers/door", HOME, origin=APP, access_control_request_method="DELETE")
        assert (outside.status_code, "allow" in outside.headers) == (401, False)
        assert "access-control-allow-origin" not in outside.headers
        inside = await served.ask(method, "/triggers/door", OFFICE, origin=APP)
        assert (inside.status_code, inside.headers["access-control-allow-origin"]) == (405, APP)


async def test_nothing_of_a_token_is_looked_at_from_another_network(served: Served, local_tenant: LocalTenant):
    """The answer is constant, says nothing, and is the same with a valid token, a bad one and none."""
    good = f"Bearer {local_tenant.token('lisa')}"
    assert (await served.ask("POST", "/triggers/office", OFFICE, authorization=good)).json() == OFFICE
    answers = [await served.ask("POST", "/triggers/office", HOME)]
    answers += [await served.ask("POST", "/triggers/office", HOME, authorization=each) for each in (good, "Bearer x")]
    assert {(answer.status_code, answer.headers["www-authenticate"]) for answer in answers} == {(401, "Bearer")}
    assert {answer.json()["detail"] for answer in answers} == {PROBLEMS["unauthenticated"].detail}


async def test_the_refusal_is_on_record_with_the_networks_and_the_address(local_tenant: LocalTenant, tmp_path: Path):
    token = local_tenant.token("lisa")
    with capture_logs() as lines:
        async with serving(local_tenant, tmp_path) as served:
            await served.ask("POST", "/triggers/office", HOME, authorization=f"Bearer {token}")
            await served.ask("POST", "/triggers/office", HOME_6, x_forwarded_for=OFFICE)
            await served.ask("POST", "/triggers/office", None)
    engine = create_engine(served.settings.database_url)
    with engine.connect() as connection:
        found = {row["client_address"]: dict(row) for row in connection.execute(select(refusals)).mappings()}
    engine.dispose()
    assert len(found) == 3
    assert {(row["reason"], row["code"], row["workflow"]) for row in found.values()} == {
        ("network", "unauthenticated", "office")
    }
    (check,) = json.loads(found[HOME]["checks"])
    assert (check["name"], check["expected"], check["found"]) == ("network", "10.0.0.0/8, 2001:db8::/32", HOME)
    assert json.loads(found[HOME_6]["checks"])[0]["hint"] == BY_PROXY
    assert not [row for row in found.values() if row["claimed"]]
    logged = [line for line in lines if line["event"] == "request-refused"]
    assert [(line["reason"], line.get("hint", "")) for line in logged] == [
        ("network", ""),
        ("network", BY_PROXY),
        ("network", NO_ADDRESS),
    ]
    assert token[:20] not in str(lines) + str(found)


PATHS = [
    ("POST", "/triggers/open", "in"),
    ("POST", "/triggers/unknown", "404 unknown-trigger"),
    ("GET", "/runs", OUTSIDE_401),
    ("GET", "/runs/x/result", "404 unknown-run"),
    ("GET", "/workflows", OUTSIDE_401),
    ("GET", "/docs", ""),
    ("GET", "/openapi.json", ""),
    ("GET", "/console", ""),
    ("GET", "/connect/x", ""),
    ("GET", "/", "404 not-found"),
    ("GET", "/%00", "404 not-found"),
    ("GET", "/healthz/", "404 not-found"),
    ("OPTIONS", "/triggers/anywhere", "405 method-not-allowed"),
]


async def test_the_servers_networks_are_for_everything_but_health_and_metrics(local_tenant, tmp_path):
    """A workflow's own networks are looked at after them."""
    networks = ["10.0.0.0/16", "192.0.2.0/24"]
    async with serving(local_tenant, tmp_path, allowed_networks=networks, public_url="https://postern.test") as served:
        inside, outside = "10.0.0.7", OFFICE
        for method, path, expected in PATHS:
            assert code_of(await served.ask(method, path, outside)) == OUTSIDE_401, path
            assert (await served.ask(method, path, outside)).headers["www-authenticate"] == "Bearer"
            found = await served.ask(method, path, inside)
            assert found.status_code < 400 or code_of(found) == expected or not expected, path
        for path in ("/healthz", "/readyz", "/metrics"):
            for at in (inside, outside, None):
                assert (await served.ask("GET", path, at)).status_code in (200, 503), path
        assert code_of(await served.ask("POST", "/triggers/door", inside)) == "in"
        assert code_of(await served.ask("POST", "/triggers/door", "192.0.2.7")) == OUTSIDE_401
        text = (await served.ask("GET", "/metrics")).text
    counted = [line for line in text.splitlines() if "unauthenticated" in line and "postern_requests_total" in line]
    assert any('workflow="open"' in line for line in counted)
    assert not any('workflow=""' in line and 'outcome="unauthenticated"' in line for line in counted if "runs" in line)


async def test_requests_from_outside_are_delayed_in_a_flood(local_tenant, tmp_path):
    """Like all that are rejected before anything of them is looked at."""
    async with serving(local_tenant, tmp_path, allowed_networks=["10.0.0.0/8"]) as served:
        waits: list[tuple[str, float]] = []
        throttle = served.app.pipeline.throttle
        once = throttle.wait
        throttle.wait = lambda address, now: waits.append((address, now)) or once(address, now)  # type: ignore[func-returns-value, method-assign]
        await served.ask("POST", "/triggers/open", HOME)
        await served.ask("GET", "/runs", HOME)
        await served.ask("POST", "/triggers/door", HOME)
        assert [address for address, _ in waits] == [HOME] * 3


# ------------------------------------------------------------------------------------------------------------- CORS

ALLOW = "access-control-allow-origin"


def preflight(origin: str, method: str = "POST", **more: str) -> dict[str, str]:
    """The header fields of a preflight request."""
    return {"origin": origin, "access_control_request_method": method, **more}


async def test_a_preflight_request_is_answered_before_the_caller_is_identified(served: Served):
    asked = {"access_control_request_headers": "authorization,content-type"}
    answer = await served.ask("OPTIONS", "/triggers/orders/7", HOME, **preflight(APP, "POST", **asked))
    assert (answer.status_code, answer.content) == (204, b"")
    assert dict(answer.headers) == {
        ALLOW: APP,
        "access-control-expose-headers": "*",
        "vary": "origin",
        "access-control-allow-methods": "GET, POST, HEAD",
        "access-control-allow-headers": "authorization, content-type, idempotency-key, prefer, traceparent, "
        "tracestate, x-ms-client-tracking-id",
        "access-control-max-age": "600",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }


PREFLIGHTS = [
    ("/triggers/orders/7", preflight(APP), 204),
    ("/triggers/orders/7", preflight(APP, "GET"), 204),
    ("/triggers/orders/7", preflight(APP, "HEAD"), 204),
    ("/triggers/orders/7", preflight("http://localhost:5173"), 204),
    ("/triggers/anywhere", preflight(OTHER), 204),
    ("/triggers/anywhere", preflight("null"), 204),
    ("/triggers/door", preflight(APP), 204),
    # none of a page that may call it
    ("/triggers/orders/7", preflight(OTHER), 405),
    ("/triggers/orders/7", preflight("null"), 405),
    ("/triggers/orders/7", preflight("*"), 405),
    ("/triggers/orders/7", preflight(APP + "/"), 405),
    ("/triggers/orders/7", preflight(APP.upper()), 405),
    ("/triggers/orders/7", preflight(f"{APP} {APP}"), 405),
    ("/triggers/orders/7", preflight("http://localhost:5174"), 405),
    ("/triggers/orders/7", preflight(""), 405),
    ("/triggers/orders/7", {"origin": APP}, 405),
    ("/triggers/orders/7", {"access_control_request_method": "POST"}, 405),
    ("/triggers/orders/7", preflight(APP, "DELETE"), 405),
    ("/triggers/orders/7", preflight(APP, "post"), 405),
    ("/triggers/orders/7", preflight(APP, "OPTIONS"), 405),
    ("/triggers/orders", preflight(APP), 404),
    ("/triggers/open", preflight(APP), 405),
    ("/triggers/unknown", preflight(APP), 404),
    ("/runs", preflight(APP), 405),
]


async def test_only_a_preflight_request_of_a_page_that_may_call_the_workflow_is_one(served: Served):
    """Without Access-Control-Allow-Methods, and with a status that is no success, a browser sends no request."""
    for path, headers, status in PREFLIGHTS:
        answer = await served.ask("OPTIONS", path, **headers)
        assert answer.status_code == status, (path, headers)
        assert ("access-control-allow-methods" in answer.headers) is (status == 204)
        assert ALLOW not in answer.headers or status == 204 or headers["origin"] == APP
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_reads_each_answer_of_the_trigger(served: Served, local_tenant: LocalTenant):
    """Problems too: of identity, of the method, of the body, of the author."""
    token = f"Bearer {local_tenant.token('lisa')}"
    asked: list[tuple[str, str, dict[str, str], int]] = [
        ("POST", "/triggers/orders/7", {"authorization": token}, 201),
        ("GET", "/triggers/orders/7", {"authorization": token}, 201),
        ("HEAD", "/triggers/orders/7", {"authorization": token}, 201),
        ("POST", "/triggers/orders/9", {"authorization": token}, 409),
        ("POST", "/triggers/orders/x", {"authorization": token}, 400),
        ("POST", "/triggers/orders/7", {}, 401),
        ("POST", "/triggers/orders/7", {"authorization": "Bearer x"}, 401),
        ("DELETE", "/triggers/orders/7", {"authorization": token}, 405),
    ]
    for method, path, headers, status in asked:
        answer = await served.ask(method, path, origin=APP, **headers)
        assert answer.status_code == status
        assert (answer.headers[ALLOW], answer.headers["access-control-expose-headers"]) == (APP, "*")
        assert answer.headers["vary"] == "origin"
        of_another = await served.ask(method, path, origin=OTHER, **headers)
        assert of_another.status_code == status
        assert not [name for name in of_another.headers if name.startswith("access-control")]
        assert of_another.headers["vary"] == "origin"
        assert ALLOW not in (await served.ask(method, path, **headers)).headers


async def test_a_page_at_any_origin_calls_a_workflow_that_says_so(served: Served):
    for origin in (APP, OTHER, "null"):
        answer = await served.ask("POST", "/triggers/anywhere", origin=origin)
        assert (answer.status_code, answer.headers[ALLOW], "vary" in answer.headers) == (200, "*", False)


async def test_a_page_reads_nothing_from_another_network(served: Served):
    for method, headers in (("POST", {"origin": APP}), ("OPTIONS", preflight(APP))):
        assert (await served.ask(method, "/triggers/door", OFFICE, **headers)).headers[ALLOW] == APP
    outside = await served.ask("POST", "/triggers/door", HOME, origin=APP)
    assert (outside.status_code, ALLOW in outside.headers) == (401, False)
    asked = await served.ask("OPTIONS", "/triggers/door", HOME, **preflight(APP))
    assert (asked.status_code, ALLOW in asked.headers) == (401, False)


async def test_a_workflow_that_answers_options_itself_sets_those_fields_itself(served: Served):
    answer = await served.ask("OPTIONS", "/triggers/itself", **preflight(APP))
    assert (answer.json(), answer.headers.get_list(ALLOW)) == ("OPTIONS", ["https://mine.example"])


async def test_no_other_page_here_is_readable_for_pages_of_other_origins(served: Served):
    run = await served.ask("POST", "/triggers/anywhere", origin=APP)
    for path in (f"/runs/{run.headers['x-run-id']}", "/workflows", "/openapi.json", "/docs", "/healthz"):
        answer = await served.ask("GET", path, origin=APP)
        assert not [name for name in answer.headers if name.startswith("access-control")], path
