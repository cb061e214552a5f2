"""Rates of requests, in a real application with a real tenant."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from httpx2 import ASGITransport
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from postern import Caller, Problem
from postern.access import ANYONE
from postern.assembly import create_app
from postern.assembly.limits import RequestLimits, _of_address, _of_caller, limit_checks
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.security.limits.limiter import Limiter, Of
from postern.settings import load_settings
from postern.settings.security import Limit, Limits, Rate
from postern.triggers.gate import add_header
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.usefixtures("own_modules")]

WORKFLOWS = """
from postern import anonymous, tenant_users, workflow

@workflow(access=tenant_users())
async def guarded(ctx): return "in"

@workflow(access=tenant_users())
async def other(ctx): return "in"

@workflow(access=anonymous())
async def hello(ctx): return "in"
"""


class World:
    """An application whose clients have addresses of their own."""

    def __init__(self, app: Any, tenant: LocalTenant) -> None:
        self.app = app
        self.tenant = tenant
        self.tokens: dict[str, str] = {}

    def client(self, address: str) -> AsyncClient:
        return http_client(base_url="https://postern.test", transport=ASGITransport(self.app, client=(address, 4711)))

    async def post(self, name: str, who: str = "", address: str = "192.0.2.1") -> Response:
        token = self.tokens.setdefault(who, self.tenant.token(who)) if who else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client(address) as client:
            return await client.post(f"/triggers/{name}", headers=headers)

    async def statuses(self, times: int, name: str, who: str = "", address: str = "192.0.2.1") -> list[int]:
        return [(await self.post(name, who, address)).status_code for _ in range(times)]


@asynccontextmanager
async def world(tenant: LocalTenant, folder: Path, limits: Mapping[str, Any]) -> AsyncIterator[World]:
    """The application with these limits."""
    (folder / "served.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(tenant, folder, client_id=tenant.client_id, limits=limits))
    async with app.router.lifespan_context(app):
        yield World(app, tenant)


async def test_without_limits_the_gate_has_nothing_to_ask(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {}) as here:
        gate = here.app.pipeline.gate
        assert (gate.before, gate.after) == (None, None)
        reply = await here.post("guarded", "ada")
        assert reply.status_code == 200
        assert not {"ratelimit", "ratelimit-policy"} & set(reply.headers)


async def test_one_caller_does_not_starve_another(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {"per_caller": "2/hour"}) as here:
        assert await here.statuses(4, "guarded", "ada") == [200, 200, 429, 429]
        assert await here.statuses(2, "guarded", "lisa") == [200, 200]
        assert await here.statuses(1, "other", "ada") == [429]


async def test_a_429_says_when_to_come_back_and_admitted_answers_what_is_left(
    local_tenant: LocalTenant, tmp_path: Path
):
    async with world(local_tenant, tmp_path, {"per_caller": "1/hour"}) as here:
        admitted, refused = await here.post("guarded", "ada"), await here.post("guarded", "ada")
    assert admitted.headers["ratelimit-policy"] == refused.headers["ratelimit-policy"] == '"caller";q=1;w=3600'
    assert admitted.headers["ratelimit"].startswith('"caller";r=0;t=3')
    assert refused.headers["ratelimit"].startswith('"caller";r=0;t=3')
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    body = refused.json()
    assert (body["code"], body["status"], "1/hour" in body["detail"]) == ("rate-limited", 429, True)


async def test_an_address_is_counted_before_its_tokens_are_looked_at(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {"per_address": "2/hour"}) as here:
        bad = [(await here.post("guarded", address="192.0.2.9")).status_code for _ in range(3)]
        assert bad == [401, 401, 429]
        assert await here.statuses(1, "guarded", "ada", "192.0.2.9") == [429]
        assert await here.statuses(1, "guarded", "ada", "192.0.2.10") == [200]


async def test_a_client_has_a_whole_network_of_version_6(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {"per_address": "2/hour"}) as here:
        seen = [(await here.post("hello", address=f"2001:db8::{n}")).status_code for n in range(1, 4)]
        assert seen == [200, 200, 429]
        assert await here.statuses(1, "hello", address="2001:db8:0:1::1") == [200]


async def test_callers_without_a_token_count_by_their_address(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {"workflows": {"hello": {"per_caller": "1/hour"}}}) as here:
        assert await here.statuses(2, "hello") == [200, 429]
        assert await here.statuses(1, "hello", address="192.0.2.2") == [200]
        assert await here.statuses(3, "guarded", "ada") == [200] * 3


async def test_calls_of_its_own_runs_are_not_counted(local_tenant: LocalTenant, tmp_path: Path):
    async with world(local_tenant, tmp_path, {"per_caller": "1/hour", "per_address": "4/hour"}) as here:
        assert await here.statuses(6, "guarded", "postern") == [200] * 6
        assert await here.statuses(5, "hello") == [200, 429, 429, 429, 429]
        assert await here.statuses(2, "guarded", "postern") == [200] * 2
        assert await here.statuses(1, "guarded", "ada") == [429]


async def test_only_triggers_are_limited(local_tenant: LocalTenant, tmp_path: Path):
    async with (
        world(local_tenant, tmp_path, {"per_caller": "1/hour", "per_address": "1/hour"}) as here,
        here.client("192.0.2.1") as client,
    ):
        await here.statuses(2, "guarded", "ada")
        headers = {"Authorization": f"Bearer {local_tenant.token('ada')}"}
        assert [(await client.get("/runs", headers=headers)).status_code for _ in range(3)] == [200] * 3


async def test_a_refusal_on_record_names_the_setting(local_tenant: LocalTenant, tmp_path: Path):
    with capture_logs() as logs:
        async with world(local_tenant, tmp_path, {"per_caller": "1/hour"}) as here:
            await here.statuses(30, "guarded", "ada")
    refused = [line for line in logs if line["event"] == "request-refused"]
    assert 1 <= len(refused) < 29
    assert (refused[0]["code"], refused[0]["reason"]) == ("rate-limited", "per_caller of [limits] = 1/hour")
    assert "eyJ" not in json.dumps(refused, default=str)


def test_only_kinds_of_rates_that_are_set_are_asked_for():
    def checks(limits: Mapping[str, Any]) -> tuple[bool, bool]:
        made = limit_checks(load_settings({}, defaults={"limits": limits}), lambda _scope, _fields: None)
        return made.before is not None, made.after is not None

    assert checks({}) == (False, False)
    assert checks({"per_caller": "1/hour"}) == (False, True)
    assert checks({"workflows": {"hello": {"per_address": "1/hour"}}}) == (True, True)


TRIGGER: Any = SimpleNamespace(workflow=SimpleNamespace(name="hello"))
CALLERS = {
    "ada": Caller("user", object_id="a", tenant_id="t"),
    "a service": Caller("application", object_id="s", tenant_id="t", client_id="s"),
    "Postern itself": Caller("application", object_id="p", tenant_id="t", client_id="own"),
    "anyone": ANYONE,
}
KINDS: tuple[Of, Of] = ("caller", "address")
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(list(CALLERS)),
        st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", ""]),
        st.sampled_from([0.0, 0.1, 0.4, 3.0]),
        st.booleans(),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(per_caller=Rate(3, 1), per_address=Rate(5, 1)),
        Limits(per_caller=Rate(3, 1)),
        Limits(per_address=Rate(2, 1)),
        Limits(per_caller=Rate(3, 1), per_address=Rate(2, 60)),
        Limits(per_caller=Rate(3, 1), workflows={"hello": Limit(per_caller=Rate(2, 1))}),
    ],
    ids=str,
)
@given(REQUESTS)
def test_the_short_way_of_most_requests_counts_as_the_long_one(limits: Limits, requests: list[Any]):
    """By a short way and by the long one, each request gets the same fields or the same refusal."""
    moment = [0]

    def way() -> RequestLimits:
        callers, addresses = (Limiter(limits, of, now=lambda: moment[0], most=3) for of in KINDS)
        return RequestLimits(callers, addresses, "own", lambda *_: None)

    ways = [way(), way()]
    short, long = (_of_address(ways[0]), _of_caller(ways[0])), (ways[1].of_address, ways[1].of_caller)
    for who, address, passed, has_fields in requests:
        moment[0] += int(passed * 1e9)
        found = []
        for by_address, by_caller in (short, long):
            scope: dict[str, Any] = {"client": (address, 1) if address else None, "headers": []}
            if has_fields:
                add_header(scope, b"vary", b"origin")
            refusal: Any = None
            try:
                by_address(TRIGGER, scope)
                by_caller(TRIGGER, CALLERS[who], scope)
            except Problem as problem:
                refusal = problem.document("id"), problem.headers
            found.append((scope, refusal))
        assert found[0] == found[1]
