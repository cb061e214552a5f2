"""Exchanging a caller's token, with the real Azure client against the local tenant."""

import gc
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import jwt
import pytest

from postern.authoring.consent import ConsentRequired
from postern.authoring.sign_in_required import SignInRequired
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.on_behalf_of.caller_token import CallerToken, forget, value_of
from postern.connections.on_behalf_of.errors import CONSENT, OTHERS, SIGN_IN
from postern.connections.on_behalf_of.sign_in import OnBehalfOf
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.on_behalf_of import CLAIMS
from tests.connections.entra_entries import Remembering, reference
from tests.connections.on_behalf_of.on_behalf import ENTRY, GRAPH, auth, entry
from tests.memory import held_texts

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A tenant of this module's own, whose secrets change."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@pytest.fixture(autouse=True)
def healthy(tenant: LocalTenant) -> Iterator[None]:
    """No fault is left."""
    yield
    tenant.faults.on_behalf_of.restore()
    tenant.sign_ins.revoked.clear()


@pytest.fixture
async def shared(tenant: LocalTenant) -> AsyncIterator[OnBehalfOf]:
    found = entry(tenant)
    yield found
    await found.aclose()


def of(shared: OnBehalfOf, token: str) -> SignIn:
    return shared.of_caller(CallerToken(token))


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def fault_for(shared: OnBehalfOf, token: str) -> ConnectionFault:
    """The fault that signing in ends with; it hangs on no error of Azure's."""
    with pytest.raises(ConnectionFault) as raised:
        await of(shared, token).credential()
    assert raised.value.__context__ is raised.value.__cause__ is None
    return raised.value


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("who", ["lisa", "gil"], ids=["member", "guest"])
async def test_a_caller_gets_a_token_of_their_own(tenant: LocalTenant, shared: OnBehalfOf, who: str, version: Any):
    claims = claims_of(await of(shared, tenant.token(who, version=version)).credential())
    assert (claims["oid"], claims["aud"]) == (tenant.people[who], GRAPH.removesuffix("/.default"))


async def test_two_callers_get_two_tokens(tenant: LocalTenant, shared: OnBehalfOf):
    tokens = {who: tenant.token(who) for who in ("lisa", "ada")}
    found = {who: claims_of(await of(shared, token).credential())["oid"] for who, token in tokens.items()}
    assert found == {who: tenant.people[who] for who in tokens}


async def test_fifty_requests_of_one_token_make_one_exchange(tenant: LocalTenant, shared: OnBehalfOf):
    received, token, found = tenant.faults.on_behalf_of.requests, tenant.token("lisa"), set()

    async def call() -> None:
        found.add(await of(shared, token).credential())

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)
    assert (len(found), tenant.faults.on_behalf_of.requests - received) == (1, 1)


async def test_another_token_of_the_same_person_is_exchanged_by_itself(tenant: LocalTenant, shared: OnBehalfOf):
    received = tenant.faults.on_behalf_of.requests
    first, second = tenant.token("lisa"), tenant.token("lisa")
    assert first != second
    assert await of(shared, first).credential() != await of(shared, second).credential()
    assert tenant.faults.on_behalf_of.requests - received == 2


@pytest.mark.parametrize("chain", [False, True])
async def test_a_certificate_proves_the_application(tenant: LocalTenant, chain: bool):
    own = tenant.applications["invoice-export"]
    given = auth(
        tenant,
        client_id=own.client_id,
        client_secret=None,
        certificate=reference(own.certificate_name),
        certificate_chain=chain,
    )
    found = entry(tenant, given)
    token = tenant.token("lisa", audience=own.client_id)
    assert claims_of(await of(found, token).credential())["appid"] == own.client_id
    await found.aclose()


async def test_a_federated_identity_proves_the_application(
    tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
):
    file = tmp_path / "token"
    file.write_text(tenant.service_account_token(), "utf-8")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    given = auth(tenant, client_secret=None, federated=True)
    found = entry(tenant, given, azure_credential="workload_identity")
    assert claims_of(await of(found, tenant.token("lisa")).credential())["oid"] == tenant.people["lisa"]
    await found.aclose()


async def test_a_rotated_secret_is_read_anew(tenant: LocalTenant):
    secrets = Remembering(tenant)
    await secrets.read("postern-client-secret")
    tenant.rotate_client_secret("postern")
    found = entry(tenant, secrets=secrets)
    assert await of(found, tenant.token("lisa")).credential()
    assert len(secrets.reads) == 2
    await found.aclose()


async def test_a_rejected_token_is_exchanged_anew_once(tenant: LocalTenant, shared: OnBehalfOf):
    signing = of(shared, tenant.token("lisa"))
    first = await signing.credential()
    second = await signing.another(first)
    assert second is not None
    assert second != first
    assert await signing.credential() == second
    assert await signing.another(second) is None


NEEDS_CLAIMS = {50076, 50079}


@pytest.mark.parametrize("code", [*SIGN_IN, *CONSENT, *OTHERS])
async def test_each_refusal_says_who_has_to_do_what(tenant: LocalTenant, shared: OnBehalfOf, code: int):
    token = tenant.token("lisa")
    tenant.faults.on_behalf_of.refuse(code)
    fault = await fault_for(shared, token)
    assert f"AADSTS{code}" in fault.wrong
    assert fault.fix.partition(":")[0].partition(" of the tenant")[0] in (
        "Caller",
        "Operator",
        "Author",
        "Administrator",
    )
    assert isinstance(fault, SignInRequired) == (code in SIGN_IN)
    assert isinstance(fault, ConsentRequired) == (code in CONSENT)
    if isinstance(fault, SignInRequired):
        assert fault.claims == (CLAIMS if code in NEEDS_CLAIMS else "")
    assert token not in str(fault)


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"expired": True}, 500133), ({"wrong_audience": True}, 500131), ({"other_tenant": True}, 50013)],
)
async def test_tokens_that_entra_does_not_take(
    tenant: LocalTenant, shared: OnBehalfOf, changed: dict[str, Any], code: int
):
    """As it would be with a token that expires in the middle of a run; the others do not get so far."""
    assert f"AADSTS{code}" in (await fault_for(shared, tenant.token("lisa", **changed))).wrong


async def test_an_application_s_token_is_not_exchanged(tenant: LocalTenant, shared: OnBehalfOf):
    assert "7000114" in (await fault_for(shared, tenant.token("nightly-report"))).wrong


async def test_a_revoked_sign_in_is_not_exchanged(tenant: LocalTenant, shared: OnBehalfOf):
    token = tenant.token("lisa")
    tenant.sign_ins.revoke(tenant.people["lisa"], time.time())
    fault = await fault_for(shared, token)
    assert isinstance(fault, SignInRequired)
    assert fault.challenge == 'Bearer error="invalid_token"'


async def test_an_outage_is_entra_s(tenant: LocalTenant, shared: OnBehalfOf):
    tenant.faults.entra.fail(503)
    try:
        assert "has an outage" in (await fault_for(shared, tenant.token("lisa"))).wrong
    finally:
        tenant.faults.entra.restore()


async def test_the_token_of_a_run_that_has_ended_is_not_used(tenant: LocalTenant, shared: OnBehalfOf):
    caller = CallerToken(tenant.token("lisa"))
    signing = shared.of_caller(caller)
    forget(caller)
    with pytest.raises(ConnectionFault, match="the run has ended") as raised:
        await signing.credential()
    assert raised.value.entry == ENTRY
    assert await signing.another("x") is None


async def test_nothing_of_the_token_is_logged_or_left(
    tenant: LocalTenant, shared: OnBehalfOf, caplog: pytest.LogCaptureFixture
):
    """Neither after an exchange nor after a refusal."""
    caplog.set_level(logging.DEBUG)
    good, refused = CallerToken(tenant.token("lisa")), CallerToken(tenant.token("ada"))
    await shared.of_caller(good).credential()
    tenant.faults.on_behalf_of.refuse(65001)
    errors = []
    try:
        await shared.of_caller(refused).credential()
    except ConnectionFault as fault:
        errors.append(fault)
    marks = [value_of(each)[-40:] for each in (good, refused)]
    assert "CallerToken" in holders_of(marks[0])  # the search finds it where it is
    forget(good)
    forget(refused)
    assert errors
    assert not any(mark in caplog.text for mark in marks)
    gc.collect()
    assert [kind for mark in marks for kind in holders_of(mark)] == []


class Refusing:
    """A credential that gets no token. It keeps what it was made of, as Azure's does."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    async def __aenter__(self) -> "Refusing":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get_token(self, *_: str, **__: object) -> None:
        raise RuntimeError("AADSTS65001")


async def test_a_refused_exchange_leaves_no_circle_that_holds_the_token(
    tenant: LocalTenant, shared: OnBehalfOf, monkeypatch: pytest.MonkeyPatch
):
    """The garbage collector may come late."""
    monkeypatch.setattr("postern.azure_clients.on_behalf_of_credential", Refusing)
    caller = CallerToken(tenant.token("ada"))
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ConnectionFault, match="AADSTS65001"):
            await shared.of_caller(caller).credential()
        mark = value_of(caller)[-40:]
        forget(caller)
        assert holders_of(mark) == []
    finally:
        gc.enable()


async def test_the_stages_of_a_test(tenant: LocalTenant, shared: OnBehalfOf):
    stages = [stage async for stage in shared.try_out()]
    assert [(stage.name, stage.passed) for stage in stages] == [("secret", True), ("token", True)]
    assert "postern connections test" in stages[1].detail
    stages = [stage async for stage in of(shared, tenant.token("lisa")).try_out()]
    assert [(stage.name, stage.passed) for stage in stages] == [("secret", True), ("token", True)]
    tenant.faults.on_behalf_of.refuse(65001)
    *_, last = [stage async for stage in of(shared, tenant.token("ada")).try_out()]
    assert (last.name, last.passed) == ("token", False)
    assert "Grant admin consent" in last.fix


def holders_of(mark: str) -> list[str]:
    """The types of objects that hold a text with this mark, other than frames and lists of this test."""
    return [
        type(holder).__name__
        for holder, each in held_texts(len(mark) + 1)
        if (mark in each if isinstance(each, str) else mark.encode() in each)
    ]


C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


async def test_the_api_learns_that_challenges_reach_the_caller(tenant: LocalTenant, shared: OnBehalfOf):
    assert claims_of(await of(shared, tenant.token("lisa")).credential())["xms_cc"] == ["CP1"]


async def test_a_challenge_of_the_api_is_met_if_the_callers_sign_in_does(tenant: LocalTenant, shared: OnBehalfOf):
    signing = of(shared, tenant.token("lisa", more={"acrs": ["c1"]}))
    first = await signing.credential()
    second = await signing.answer(first, C1)
    assert second not in (None, first)
    assert claims_of(second or "")["acrs"] == ["c1"]
    assert await signing.credential() == second


async def test_a_challenge_of_the_api_that_the_callers_sign_in_does_not_meet_goes_to_the_caller(
    tenant: LocalTenant, shared: OnBehalfOf
):
    """With the claims for which the API asked."""
    signing = of(shared, tenant.token("lisa"))
    first = await signing.credential()
    with pytest.raises(SignInRequired) as raised:
        await signing.answer(first, C1)
    asked = json.loads(raised.value.claims)["access_token"]
    assert asked["acrs"] == json.loads(C1)["access_token"]["acrs"]
    assert 'error="insufficient_claims"' in raised.value.challenge
