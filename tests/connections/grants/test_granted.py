"""Whose grant a run uses, and what is sent with it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern import CallError, ConsentRequired
from postern.access import ANYONE, Caller, StartedBy
from postern.connections import ConnectionFault
from postern.connections.auth.claims_challenge import LONGEST
from postern.connections.grants.granted import Granted, moved
from postern.connections.grants.reasons import OWNER, REASONS
from postern.connections.grants.rows import no_grant
from postern.http_client import URL
from postern.trace import RUN
from tests.connections.grants.granting import (
    API,
    APPLICATION,
    MARKER,
    Echo,
    Held,
    Schedule,
    granting,
    owner,
    person,
    told,
)
from tests.table import table

OF_OPERATOR = "An operator, on the page Connections of the console, must"

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ELSEWHERE = Caller("user", person("lisa").object_id, "00000000-0000-0000-0000-0000000000ee")
INSTANCE = "https://acme.my.salesforce.com"


async def test_a_run_of_a_person_has_that_person_s_grant_and_a_shared_one_is_for_every_run(tmp_path: Path):
    with granting(tmp_path, Held("lisa", "ada", ""), echo := Echo()) as run:
        for name in ("lisa", "ada"):
            assert told(await run(person(name)).connection("tickets").get("/x")) == owner(name)
        for caller in (person("lisa"), APPLICATION, ANYONE):
            for ctx in (run(caller), run(caller, StartedBy.EDITED), run(caller, called=True)):
                assert told(await ctx.connection("wiki").get("/x")) == ""
    assert {str(sent.url) for sent in echo.sent} == {f"{API}/x"}


@pytest.mark.parametrize(
    ("caller", "started_by", "called", "why"),
    [
        (ANYONE, StartedBy.REQUEST, False, "anonymous"),
        (APPLICATION, StartedBy.REQUEST, False, "application"),
        (person("lisa"), StartedBy.REQUEST, True, "called-by-run"),
        (person("lisa"), StartedBy.EDITED, False, "resubmitted"),
        (person("lisa"), StartedBy.ANOTHER, False, "resubmitted"),
        (person("lisa"), StartedBy.LOST, False, "resubmitted"),
        (person("lisa"), StartedBy.UNKNOWN, False, "no-person"),
    ],
)
async def test_a_run_that_acts_for_nobody_has_no_grant_and_the_error_says_why(
    tmp_path: Path, caller: Caller, started_by: StartedBy, called: bool, why: str
):
    held, echo = Held("lisa", "ada", ""), Echo()
    with granting(tmp_path, held, echo) as run:
        ctx = run(caller, started_by, called=called)
        with pytest.raises(ConsentRequired) as by_connection:
            ctx.connection("tickets")
        with pytest.raises(ConsentRequired) as by_call:
            await ctx.call("pay", {})
    for error, entry in ((by_connection.value, "connections.tickets"), (by_call.value, "triggers.pay")):
        assert (error.reason, error.connect_path, error.sent, error.final) == (why, "", False, True)
        assert str(error) == f"{entry} {REASONS[why].text}. {REASONS[why].fix}."
    assert (held.asked, echo.sent) == ([], [])


@pytest.mark.parametrize("caller", [person("ada"), person("gil"), ELSEWHERE])
async def test_the_grant_of_lisa_is_there_for_nobody_else(tmp_path: Path, caller: Caller):
    with granting(tmp_path, Held("lisa"), echo := Echo()) as run:
        with pytest.raises(ConsentRequired) as caught:
            await run(caller).connection("tickets").get("/x")
        with pytest.raises(ConsentRequired) as by_call:
            await run(caller).call("pay", {})
    assert (caught.value.reason, by_call.value.reason) == ("not-connected", "not-connected")
    assert (caught.value.connect_path, by_call.value.connect_path) == ("/connect/tickets", "/connect/triggers.pay")
    assert echo.sent == []


@pytest.mark.parametrize(
    ("name", "caller", "called", "may", "path", "who"),
    [
        ("tickets", person("ada"), False, True, "/connect/tickets", "The caller of this run must"),
        ("tickets", person("ada"), False, False, "", "People of the caller's tenant cannot connect it"),
        ("wiki", person("ada"), False, True, "/connect/wiki", "The caller of this run must"),
        ("wiki", person("ada"), False, False, "", OF_OPERATOR),
        ("wiki", person("ada"), True, True, "", OF_OPERATOR),
        ("wiki", APPLICATION, False, True, "", OF_OPERATOR),
        ("wiki", APPLICATION, True, True, "", OF_OPERATOR),
        ("wiki", ANYONE, False, True, "", OF_OPERATOR),
    ],
)
async def test_the_one_who_can_connect_it_is_named_and_only_a_caller_who_can_gets_the_page(
    tmp_path: Path, name: str, caller: Caller, called: bool, may: bool, path: str, who: str
):
    asked: list[Any] = []

    def may_connect(caller: Caller, shared: bool) -> bool:
        asked.append((caller, shared))
        return may

    with granting(tmp_path, Held(), Echo(), may_connect) as run, pytest.raises(ConsentRequired) as caught:
        await run(caller, called=called).connection(name).get("/x")
    assert caught.value.connect_path == path
    assert f"is not connected. {who}" in str(caught.value)
    assert OWNER not in str(caught.value)
    assert all(each == (caller, name == "wiki") for each in asked)


async def test_a_call_raises_a_call_error_and_a_client_what_is_a_fault_of_the_connection_too(tmp_path: Path):
    with granting(tmp_path, Held(), Echo()) as run:
        with pytest.raises(ConnectionFault):
            await run(person("ada")).connection("tickets").get("/x")
        with pytest.raises(CallError) as caught:
            await run(person("ada")).call("pay", {})
    assert type(caught.value) is ConsentRequired
    assert caught.value.trigger == "triggers.pay"


async def test_an_entry_of_people_is_for_runs_only(tmp_path: Path):
    with granting(tmp_path, Held("lisa", ""), Echo()) as run:
        connections: Any = run()._services.connection.__self__  # type: ignore[attr-defined]
        with pytest.raises(ConnectionFault, match="is used by runs only"):
            connections.client("tickets")
        connections._of_runs.clear()
        with pytest.raises(ConnectionFault, match="is used by runs only"):
            run(person("lisa")).connection("tickets")


# Rejected tokens


@pytest.mark.parametrize(
    ("rejected", "renews", "status", "steps", "sent"),
    [
        ((), True, 200, ["access"], 1),
        (("1",), True, 200, ["access", "renewed"], 2),
        (("1", "2"), True, 401, ["access", "renewed"], 2),
        (("1",), False, 401, ["access", "renewed"], 1),
    ],
)
async def test_a_rejected_token_is_replaced_once(
    tmp_path: Path, rejected: tuple[str, ...], renews: bool, status: int, steps: list[str], sent: int
):
    held, echo = Held("lisa"), Echo()
    held.renews, echo.rejected = renews, set(rejected)
    with granting(tmp_path, held, echo) as run:
        response = await run(person("lisa")).connection("tickets").post("/x", json={})
    assert response.status_code == status
    assert [step for step, *_ in held.asked] == steps
    assert len(echo.sent) == sent
    assert all(name == "tickets" and of == owner("lisa") for _, name, of in held.asked)


C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


def challenge(document: str) -> str:
    return f'Bearer realm="", error="insufficient_claims", claims="{b64encode(document.encode()).decode()}"'


@pytest.mark.parametrize(
    ("field", "claims"),
    [
        (challenge(C1), C1),
        (challenge('{ "access_token" : {"nbf": {"value": "1"}} }'), '{"access_token":{"nbf":{"value":"1"}}}'),
        ("Bearer", ""),
        ('Bearer error="invalid_token"', ""),
        ('Bearer error="insufficient_claims", claims="%%%"', ""),
        ('Bearer error="insufficient_claims", claims="AAAA"', ""),
        (challenge("[]"), ""),
        (challenge('{"a":"' + "x" * LONGEST + '"}'), ""),
        (challenge('{"a":' * 17 + "1" + "}" * 17), ""),
    ],
)
@pytest.mark.parametrize("rejected", [("1",), ("1", "2")])
async def test_a_claims_challenge_is_answered_once_and_what_is_none_is_a_plain_401(
    tmp_path: Path, field: str, claims: str, rejected: tuple[str, ...]
):
    """By a connection, and by a call."""
    held, echo = Held("lisa"), Echo()
    echo.rejected, echo.challenge = set(rejected), field
    with granting(tmp_path, held, echo) as run:
        response = await run(person("lisa")).connection("tickets").post("/x", json={})
        assert response.status_code == (200 if len(rejected) == 1 else 401)
        assert (held.claims, len(echo.sent)) == ([claims], 2)
        held.generations[owner("lisa")] = 1
        with nullcontext() if len(rejected) == 1 else pytest.raises(CallError):
            await run(person("lisa")).call("pay", {})
    assert (held.claims, len(echo.sent)) == ([claims] * 2, 4)


async def test_a_challenge_is_answered_beside_a_gateway_s_key(tmp_path: Path):
    held, echo = Held("lisa"), Echo()
    echo.rejected, echo.challenge = {"1"}, challenge(C1)
    with granting(tmp_path, held, echo) as run:
        assert (await run(person("lisa")).connection("gated").get("/x")).status_code == 200
    assert (held.claims, [sent.headers["X-Gate"] for sent in echo.sent]) == ([C1], ["value-of-gate"] * 2)


async def test_a_body_that_can_be_read_once_is_not_sent_again_after_a_challenge(tmp_path: Path):
    held, echo = Held("lisa"), Echo()
    echo.rejected, echo.challenge = {"1"}, challenge(C1)

    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    with granting(tmp_path, held, echo) as run:
        client = run(person("lisa")).connection("tickets")
        assert (await client.post("/x", content=body())).status_code == 401
        assert (await client.get("/x")).status_code == 200
    assert (held.claims, len(echo.sent)) == ([C1], 2)


@pytest.mark.parametrize("by", ["connection", "call"])
async def test_a_person_who_has_to_meet_a_challenge_is_sent_to_the_page_to_connect(tmp_path: Path, by: str):
    held, echo = Held("lisa"), Echo()
    echo.rejected, echo.challenge = {"1"}, challenge(C1)

    async def must_act(*_: Any) -> Any:
        raise no_grant("tickets", "mfa-required")

    held.renewed = must_act  # type: ignore[method-assign, assignment]
    with granting(tmp_path, held, echo) as run:
        ctx = run(person("lisa"))
        sent = ctx.connection("tickets").get("/x") if by == "connection" else ctx.call("pay", {})
        with pytest.raises(ConsentRequired) as caught:
            await sent
    path = "/connect/tickets" if by == "connection" else "/connect/triggers.pay"
    assert (caught.value.reason, caught.value.connect_path, len(echo.sent)) == ("mfa-required", path, 1)
    assert "acrs" not in f"{caught.value}{caught.value!r}"


async def test_a_grant_that_ends_at_a_rejected_token_is_what_the_author_sees(tmp_path: Path):
    held, echo = Held("lisa"), Echo()
    echo.rejected = {"1"}

    async def ended(*_: Any) -> Any:
        held.generations.clear()
        return held._of("tickets", owner("lisa"))

    held.renewed = ended  # type: ignore[method-assign, assignment]
    with granting(tmp_path, held, echo) as run, pytest.raises(ConsentRequired) as caught:
        await run(person("lisa")).connection("tickets").get("/x")
    assert (caught.value.reason, caught.value.connect_path) == ("not-connected", "/connect/tickets")


# What is sent


async def test_a_gateway_s_key_is_sent_beside_the_token(tmp_path: Path):
    with granting(tmp_path, Held("lisa"), echo := Echo()) as run:
        await run(person("lisa")).connection("gated").get("/x")
    assert echo.sent[0].headers["X-Gate"] == "value-of-gate"
    assert echo.sent[0].headers["Authorization"].startswith(f"Bearer {MARKER}")


async def test_a_request_goes_to_the_address_of_the_grant_and_the_author_s_own_keeps_the_entry_s(tmp_path: Path):
    with granting(tmp_path, Held("", base_url=INSTANCE), echo := Echo()) as run:
        response = await run().connection("sales").get("/query", params={"q": "a b"})
    assert str(echo.sent[0].url) == f"{INSTANCE}/v1/query?q=a+b"
    assert echo.sent[0].headers["Host"] == "acme.my.salesforce.com"
    assert str(response.request.url) == f"{API}/query?q=a+b"
    assert "Authorization" not in response.request.headers


@pytest.mark.parametrize("to", ["https://thief.example/x", f"{INSTANCE}/v1/x", f"{API}/other", "/v1/other"])
async def test_no_redirect_takes_the_token_along(tmp_path: Path, to: str):
    with granting(tmp_path, Held("", base_url=INSTANCE), echo := Echo()) as run:
        echo.redirect = to
        assert (await run().connection("sales").get("/x")).status_code == 302
        echo.redirect = to
        with pytest.raises(ConnectionFault) if to.startswith(("https://thief", INSTANCE)) else nullcontext():
            await run().connection("sales").get("/x", follow_redirects=True)
    for sent in echo.sent:
        assert ("Authorization" in sent.headers) == (sent.url.host == "acme.my.salesforce.com")
        assert sent.url.path == "/v1/x" or "Authorization" not in sent.headers


@pytest.mark.parametrize("url", ["https://thief.example/x", "//thief.example/x", f"{INSTANCE}/v1/x", "/../x"])
async def test_an_author_s_address_elsewhere_is_rejected_before_anything_is_sent(tmp_path: Path, url: str):
    with granting(tmp_path, Held("", base_url=INSTANCE), echo := Echo()) as run, pytest.raises(ConnectionFault):
        await run().connection("sales").get(url)
    assert echo.sent == []


DOMAINS = ("salesforce.com", "force.com")


@table(
    ("base", "to"),
    [
        ("https://acme.my.salesforce.com", "https://acme.my.salesforce.com/v1/x?a=1"),
        ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com/v1/x?a=1"),
        ("https://acme.force.com:8443", "https://acme.force.com:8443/v1/x?a=1"),
        ("https://Acme.My.Salesforce.com", "https://acme.my.salesforce.com/v1/x?a=1"),
        ("http://acme.my.salesforce.com", ""),
        ("http://127.0.0.1:8000", ""),
        ("https://salesforce.com", ""),
        ("https://..salesforce.com", ""),
        ("https://-.salesforce.com", ""),
        ("https://acme.salesforce.com:99999", ""),
        ("https://salesforce.com.thief.example", ""),
        ("https://notsalesforce.com", ""),
        ("https://a@acme.my.salesforce.com", ""),
        ("https://acme.my.salesforce.com/path", ""),
        ("https://acme.my.salesforce.com?x=1", ""),
        ("https://acme.my.salesforce.com#x", ""),
        ("https://thief.example/.salesforce.com", ""),
        ("https://thief.example\\.salesforce.com", ""),
        ("https://[::1", ""),
        ("acme.my.salesforce.com", ""),
        ("file:///etc/passwd", ""),
        ("x" * 70_000, ""),
    ],
)
def test_an_address_of_a_grant_is_https_below_the_domains_of_its_provider(base: str, to: str):
    url = URL(f"{API}/x?a=1")
    if to:
        assert str(moved(url, base, "connections.sales", DOMAINS)) == to
        return
    with pytest.raises(ConnectionFault, match=r"connections\.sales has a grant for an address that is not of its prov"):
        moved(url, base, "connections.sales", DOMAINS)


@given(st.text(max_size=60), st.sampled_from(["https://", "http://", "//", "https:", ""]))
@settings(max_examples=300, deadline=None)
def test_whatever_the_address_of_a_grant_is_a_request_goes_below_the_domains_or_nowhere(text: str, scheme: str):
    for base in (scheme + text, f"{scheme}{text}.salesforce.com", f"https://a.salesforce.com{text}"):
        try:
            found = moved(URL(f"{API}/x"), base, "connections.sales", DOMAINS)
        except ConnectionFault:
            continue
        assert found.scheme == "https"
        assert found.host.endswith((".salesforce.com", ".force.com"))
        assert found.raw_path == b"/v1/x"


def test_without_domains_no_address_of_a_grant_is_taken():
    with pytest.raises(ConnectionFault):
        moved(URL(API), "https://acme.my.salesforce.com", "connections.tickets", ())


# Several people at once


@settings(max_examples=60, deadline=None)
@given(
    order=st.lists(st.integers(0, 7), min_size=1, max_size=40),
    people=st.lists(st.sampled_from(["lisa", "ada", ""]), min_size=2, max_size=6),
    rejected=st.booleans(),
)
def test_in_any_interleaving_each_run_sends_the_token_of_its_own_person(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], people: list[str], rejected: bool
):
    folder = tmp_path_factory.getbasetemp()

    async def all_at_once() -> list[list[str]]:
        schedule = Schedule(order)
        held, echo = Held("lisa", "ada", "", turn=schedule), Echo(schedule)
        echo.rejected = {"1"} if rejected else set()
        with granting(folder, held, echo) as run:

            async def one(name: str) -> list[str]:
                ctx = run(person(name)) if name else run(person("gil"))
                client = ctx.connection("tickets" if name else "wiki")
                found = [told(await client.get("/x")) for _ in range(2)]
                if name:
                    found.append((await ctx.call("pay", {}))["token"].split("|")[1])
                return found

            tasks = [asyncio.create_task(one(name)) for name in people]
            await schedule.until(tasks)
            return [task.result() for task in tasks]

    found = asyncio.run(all_at_once())
    assert found == [[owner(name)] * (3 if name else 2) for name in people]


@pytest.mark.parametrize("who", ["ada", "lisa"])
async def test_a_client_that_an_author_keeps_for_the_next_run_serves_it_with_nobody_s_token(tmp_path: Path, who: str):
    with granting(tmp_path, Held("lisa", "ada", ""), echo := Echo()) as run:
        ctx = run(person("lisa"))
        kept, shared = ctx.connection("tickets"), ctx.connection("wiki")
        assert told(await kept.get("/x")) == owner("lisa")
        run(person(who))
        with pytest.raises(ConnectionFault, match="has a client of another run"):
            await kept.get("/x")
        assert told(await shared.get("/x")) == ""
        RUN.set(None)
        with pytest.raises(ConnectionFault, match="has a client of another run"):
            await kept.get("/x")
    assert len(echo.sent) == 2


async def test_runs_leave_nothing_behind_that_has_a_token_or_grows_with_people(tmp_path: Path):
    with granting(tmp_path, Held("lisa", "ada"), Echo()) as run:
        connections: Any = run()._services.connection.__self__  # type: ignore[attr-defined]
        for name in ("lisa", "ada") * 10:
            await run(person(name)).connection("tickets").get("/x")
            await run(person(name)).call("pay", {})
        assert set(connections._entries) == {"connections.tickets", "triggers.pay"}
        assert connections._ways == {}


async def test_a_credential_is_in_no_repr_and_no_error(tmp_path: Path):
    held: Any = Held("lisa", base_url=f"https://thief.example/{MARKER}")
    signing = Granted("connections.tickets", "tickets", owner("lisa"), held, lambda found: found)
    with granting(tmp_path, held, Echo()) as run, pytest.raises(ConnectionFault) as caught:
        await run(person("lisa")).connection("tickets").get("/x")
    client = run(person("lisa")).connection("tickets")
    texts = [repr(signing), repr(vars(signing)), repr(caught.value), str(caught.value), repr(vars(client))]
    assert not any(MARKER in text for text in texts)
    assert caught.value.__context__ is None


async def test_the_stages_of_a_trial_say_whether_there_is_a_token():
    async def stages(*owners: str) -> list[tuple[bool, str]]:
        held: Any = Held(*owners)
        signing = Granted("connections.tickets", "tickets", owner("lisa"), held, lambda found: found)
        return [(stage.passed, stage.detail) async for stage in signing.try_out()]

    assert await stages("lisa") == [(True, "connected")]
    assert await stages() == [(False, "is not connected")]
