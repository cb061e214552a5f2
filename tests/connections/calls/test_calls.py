"""`ctx.call`: what is sent, what comes back, what is tried again, and what each error says."""

import socket
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse, Response

from postern import CallError, Handle, Retry, anonymous, specific_users, tenant_users, workflow
from postern.access import bind
from postern.catalog import Trigger
from postern.connections.calls.call_advice import doubts
from postern.connections.calls.targets import Targets
from postern.ids import new_id
from postern.settings import load_settings
from postern.transient_errors import retry_after, worth_retrying
from tests.connections.calling import ENTRA, GUID, TOKEN, Counterpart, calling, problem, serving
from tests.garbage import garbage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUN = new_id()
HONOURS = {"honours_idempotency_key": True}
SIGNATURE = "sig=Marker-of-a-signature"


class Leave(BaseModel):
    day: date
    days: int = 3


@workflow(access=anonymous())
async def open_one(ctx): ...


@workflow(access=tenant_users())
async def guarded_one(ctx): ...


@workflow(access=specific_users(f"{GUID}7"), stateless=True)
async def stateless_one(ctx): ...


@workflow(access=tenant_users(audiences=["api://other"]))
async def other_one(ctx): ...


SERVED = {
    each.name: Trigger(
        each,
        bind(each.access, people={}, tenants=[f"{GUID}9"], audiences=["api://postern", "api://second"]),
        Path("w.py"),
    )
    for each in (open_one, guarded_one, stateless_one, other_one)
}
OWN: dict[str, Any] = {
    "tenant_id": f"{GUID}9",
    "audience": ["api://postern", "api://second"],
    "client_id": f"{GUID}8",
    "client_secret_name": "own-secret",
}


@pytest.fixture(scope="module")
async def listening():
    counterpart = Counterpart()
    async with serving(counterpart) as url:
        yield counterpart, url


@pytest.fixture
async def there(listening):
    """A counterpart, and where it listens."""
    counterpart, url = listening
    counterpart.answers = [Response(status_code=204)]
    counterpart.received.clear()
    counterpart.bodies.clear()
    return counterpart, url


# What is sent


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        (None, b"", None),
        ({"days": 3}, b'{"days":3}', "application/json"),
        (Leave(day=date(2026, 1, 31)), b'{"day":"2026-01-31","days":3}', "application/json"),
        ("text", b'"text"', "application/json"),
        (b"\x00raw", b"\x00raw", "application/octet-stream"),
    ],
)
async def test_a_body_goes_as_json_and_bytes_as_they_are(there: Any, tmp_path: Path, body: Any, sent: bytes, kind: Any):
    counterpart, url = there
    async with calling(tmp_path, {"flow": {"url": f"{url}/x?api-version=1&{SIGNATURE}"}}) as here:
        assert await here.ctx.call("flow", body) is None
    [received] = counterpart.received
    assert (received.method, received.url.path, received.url.query) == ("POST", "/x", f"api-version=1&{SIGNATURE}")
    assert (counterpart.bodies, received.headers.get("content-type")) == ([sent], kind)


async def test_a_call_names_its_trace_its_depth_and_a_key_and_not_its_run(there: Any, tmp_path: Path):
    counterpart, url = there
    async with calling(tmp_path, {"flow": {"url": url}}, run_id=RUN, depth=3) as here:
        await here.ctx.call("flow")
        await here.ctx.call("flow", path="/orders/4 2", method="PUT")
    first, second = counterpart.received
    assert first.headers["traceparent"] == here.ctx.traceparent
    assert first.headers["postern-depth"] == "4"
    assert len(first.headers["idempotency-key"]) == 64
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    assert (second.method, second.scope["raw_path"]) == ("PUT", b"/orders/4%202")
    assert not any(RUN in value for received in counterpart.received for value in received.headers.values())


async def test_only_a_workflow_of_this_server_gets_the_calling_run(there: Any, tmp_path: Path):
    counterpart, url = there
    async with calling(tmp_path, {"flow": {"url": url}}, SERVED, RUN, public_url=f"{url}/prefix", **OWN) as here:
        for name in ("flow", "open-one", "guarded-one", "stateless-one", "other-one"):
            await here.ctx.call(name)
    assert [each.headers.get("postern-parent-run") for each in counterpart.received] == [
        None,
        RUN,
        RUN,
        RUN,
        RUN,
    ]
    assert [each.url.path for each in counterpart.received][1:3] == [
        "/prefix/triggers/open-one",
        "/prefix/triggers/guarded-one",
    ]
    assert ["idempotency-key" in each.headers for each in counterpart.received] == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert ["authorization" in each.headers for each in counterpart.received] == [
        False,
        False,
        True,
        True,
        True,
    ]
    asked_for = {entry: (auth.type, getattr(auth, "audience", "")) for entry, auth in here.opened}
    assert asked_for == {
        "triggers.flow": ("none", ""),
        "workflow open-one": ("none", ""),
        "workflow guarded-one": ("entra", "api://postern"),
        "workflow stateless-one": ("entra", "api://postern"),
        "workflow other-one": ("entra", "api://other"),
    }
    auth = dict(here.opened)["workflow guarded-one"]
    assert (auth.client_id, auth.client_secret.key_vault, auth.tenant_id) == (f"{GUID}8", "own-secret", None)


async def test_an_entry_hides_a_workflow_of_its_name(there: Any, tmp_path: Path):
    counterpart, url = there
    async with calling(tmp_path, {"open-one": {"url": f"{url}/elsewhere"}}, SERVED) as here:
        await here.ctx.call("open-one")
    assert counterpart.received[0].url.path == "/elsewhere"


@pytest.mark.parametrize("path", ["orders", "/a/../b", "/a/%2e%2E/b", "/./a", "//a", "/a?b=c", "/a#b", "/a\\b"])
async def test_a_relative_path_cannot_lead_elsewhere(there: Any, tmp_path: Path, path: str):
    counterpart, url = there
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(ValueError, match="path="):
            await here.ctx.call("flow", path=path)
    assert counterpart.received == []


@pytest.mark.parametrize("options", [{"method": "TRACE"}, {"idempotency_key": ""}, {"idempotency_key": "a b"}])
async def test_options_that_make_no_sense_are_said_at_once(tmp_path: Path, options: dict[str, Any]):
    async with calling(tmp_path, {}) as here:
        with pytest.raises(ValueError, match=next(iter(options))):
            await here.ctx.call("flow", **options)
        with pytest.raises(TypeError):
            await here.ctx.call("flow", retry=3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="the name of a trigger, not Workflow"):
            await here.ctx.call(open_one)  # type: ignore[arg-type]
    assert here.noted == []


async def test_the_member_of_an_enum_is_the_name_that_it_stands_for(there: Any, tmp_path: Path):
    """Its record goes to another process, which does not know the author's enum."""

    class Flow(str, Enum):  # noqa: UP042 older ones are written like this
        APPROVE = "flow"

    _, url = there
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        await here.ctx.call(Flow.APPROVE)
    assert [type(call.name) for call in here.noted] == [str]


# What comes back


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (JSONResponse({"ok": True}), {"ok": True}),
        (Response(b"[1]", 201, media_type="application/vnd.x+json; charset=utf-8"), [1]),
        (PlainTextResponse("yes"), "yes"),
        (Response(b"\x89PNG", media_type="image/png"), b"\x89PNG"),
        (Response(b"", media_type="application/json"), None),
        (Response(status_code=204), None),
        (Response(status_code=202), None),
    ],
)
async def test_the_result_is_what_the_reply_has(there: Any, tmp_path: Path, reply: Response, value: Any):
    counterpart, url = there
    counterpart.answers = [reply]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        assert await here.ctx.call("flow") == value


async def test_what_is_called_json_and_is_none_is_an_error(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [Response(b"{oops", media_type="application/json")]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(CallError, match="a JSON body that is not valid JSON") as caught:
            await here.ctx.call("flow")
    assert (caught.value.status, "oops" in str(caught.value)) == (200, False)


async def test_a_result_that_comes_later_is_requested_where_it_will_be(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [
        Response(status_code=202, headers={"Location": "/runs/1?n=1", "Retry-After": "7"}),
        Response(status_code=202, headers={"Retry-After": "0"}),
        Response(status_code=202, headers={"Location": f"{url}/runs/2?{SIGNATURE}", "Retry-After": "3600"}),
        Response(status_code=202),
        JSONResponse({"approved": True}, headers={"X-Run-Id": RUN}),
    ]
    async with calling(tmp_path, {"flow": {"url": f"{url}/x", "auth": ENTRA}}) as here:
        assert await here.ctx.call("flow", {"days": 3}) == {"approved": True}
    assert [wait for wait in here.waits if wait] == [7, 1, 3600, 6.75]
    assert [(each.method, each.url.path) for each in counterpart.received] == [
        ("POST", "/x"),
        ("GET", "/runs/1"),
        ("GET", "/runs/1"),
        ("GET", "/runs/2"),
        ("GET", "/runs/2"),
    ]
    signed = ["authorization" in each.headers for each in counterpart.received]
    assert signed == [True, True, True, False, False], "a signed address takes no token beside its signature"
    assert (here.noted[0].status, here.noted[0].run_id) == (200, RUN)


@pytest.mark.parametrize(
    "elsewhere", ["https://127.0.0.1:1/x", "//evil.example/x", "http://u@127.0.0.1/x", "http://[/"]
)
async def test_a_result_at_another_origin_is_not_requested(there: Any, tmp_path: Path, elsewhere: str):
    counterpart, url = there
    counterpart.answers = [Response(status_code=202, headers={"Location": elsewhere})]
    async with calling(tmp_path, {"flow": {"url": url, "auth": ENTRA}}) as here:
        with pytest.raises(CallError, match="another origin") as caught:
            await here.ctx.call("flow")
    assert (len(counterpart.received), elsewhere in str(caught.value)) == (1, False)


async def test_what_is_not_waited_for_is_a_handle(there: Any, tmp_path: Path):
    counterpart, url = there
    taken = Response(status_code=202, headers={"Location": f"/runs/1?{SIGNATURE}", "X-Run-Id": RUN})
    counterpart.answers = [taken, JSONResponse("yes")]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        handle = await here.ctx.call("flow", wait=False)
        assert isinstance(handle, Handle)
        assert (handle.done, handle.run_id, handle.location) == (False, RUN, f"{url}/runs/1?{SIGNATURE}")
        assert SIGNATURE not in repr(handle)
        assert RUN not in repr(handle)
        assert [await handle.result(), await handle.result(), handle.done] == ["yes", "yes", True]
    assert counterpart.received[0].headers["prefer"] == "respond-async"
    assert len(counterpart.received) == 2


async def test_a_handle_on_what_was_answered_at_once_is_done(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [JSONResponse("yes")]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        handle = await here.ctx.call("flow", wait=False)
        assert (handle.done, await handle.result()) == (True, "yes")


# What is tried again

BUSY = Response(status_code=429, headers={"Retry-After": "3"})
OUTCOME = {"X-Run-Id": RUN}
DONE = JSONResponse("done")


@pytest.mark.parametrize(
    ("where", "method", "answer", "tries"),
    [
        # known not to have run
        ("flow", "POST", BUSY, 2),
        ("flow", "POST", Response(status_code=503, headers={"Retry-After": "0"}), 2),
        ("flow", "POST", Response(status_code=408), 2),
        ("postern", "POST", problem(503, "shutting-down"), 2),
        # may have run
        ("flow", "POST", Response(status_code=502), 1),
        ("flow", "POST", Response(status_code=503), 1),
        ("plain", "PATCH", PlainTextResponse("upstream connect error or disconnect/reset", 503), 1),
        ("flow", "POST", Response(status_code=429), 1),
        ("flow", "POST", Response(status_code=500), 1),
        ("flow", "PUT", Response(status_code=503), 2),
        ("stateless-one", "POST", Response(status_code=503), 1),
        ("flow", "PUT", Response(status_code=502), 2),
        ("flow", "GET", Response(status_code=504), 2),
        ("plain", "POST", Response(status_code=502), 1),
        ("postern", "POST", Response(status_code=502), 2),
        ("postern", "POST", Response(status_code=408), 2),
        ("guarded-one", "POST", Response(status_code=500), 2),
        ("stateless-one", "POST", Response(status_code=500), 1),
        # what a run came to
        ("postern", "POST", problem(500, "workflow-failed", OUTCOME), 1),
        ("postern", "POST", problem(504, "timed-out"), 1),
        ("postern", "GET", problem(409, "run-cancelled"), 1),
        ("postern", "POST", problem(503, "workflow-problem", OUTCOME), 1),
        ("postern", "POST", JSONResponse({}, 429, OUTCOME), 1),
        # wrong for good
        ("postern", "POST", problem(503, "too-many-calls"), 1),
        ("postern", "POST", problem(508, "loop-detected"), 1),
        ("postern", "POST", problem(401, "unauthenticated"), 1),
        ("postern", "POST", problem(422, "idempotency-key-reused"), 1),
    ],
)
async def test_what_is_tried_again(there: Any, tmp_path: Path, where: str, method: str, answer: Response, tries: int):
    counterpart, url = there
    counterpart.answers = [answer, DONE]
    entries = {
        "flow": {"url": f"{url}/workflows/1/triggers/manual/paths/invoke", "auth": ENTRA},
        "plain": {"url": f"{url}/api/function"},
        "postern": {"url": f"{url}/triggers/greet", **HONOURS},
    }
    async with calling(tmp_path, entries, SERVED, public_url=url, **OWN) as here:
        if tries == 1:
            with pytest.raises(CallError):
                await here.ctx.call(where, method=method)
        else:
            assert await here.ctx.call(where, method=method) == "done"
    assert len(counterpart.received) == tries
    assert len({each.headers.get("idempotency-key") for each in counterpart.received}) == 1


async def test_waits_grow_or_are_what_the_other_side_requests_and_end(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [BUSY, Response(status_code=503)]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow", method="PUT")
        assert here.waits == [3, 1, 2, 4]
        assert len(counterpart.received) == 5
        with pytest.raises(CallError):
            await here.ctx.call("flow", method="PUT", retry=Retry.none())
        assert len(counterpart.received) == 6
    assert caught.value.status == 503


async def test_a_call_that_still_runs_there_is_waited_for(there: Any, tmp_path: Path):
    """Its first answer was lost. The key makes the next attempts the same call."""
    counterpart, url = there
    running = problem(409, "run-in-progress", {"Retry-After": "1", "X-Run-Id": RUN})
    counterpart.answers = [Response(status_code=504), *[running] * 9, DONE]
    async with calling(tmp_path, {"postern": {"url": f"{url}/triggers/greet", **HONOURS}}) as here:
        assert await here.ctx.call("postern", retry=Retry(1, 0.5, 0.1, 5)) == "done"
    assert here.waits == [0.5, *[1] * 9]


async def test_a_postern_whose_workflow_takes_no_key_is_called_without_one(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [problem(400, "bad-idempotency-key"), DONE]
    async with calling(tmp_path, {"postern": {"url": f"{url}/triggers/greet"}}) as here:
        assert await here.ctx.call("postern") == "done"
        counterpart.answers = [problem(400, "bad-idempotency-key"), DONE]
        with pytest.raises(CallError):
            await here.ctx.call("postern", idempotency_key="mine")
    assert [received.headers.get("idempotency-key", "")[:4] for received in counterpart.received][1:] == ["", "mine"]


async def test_a_call_that_fails_leaves_no_garbage(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [problem(401, "unauthenticated")]

    async def failed(here: Any) -> bool:
        try:
            await here.ctx.call("flow")
        except CallError:
            return True
        return False

    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        assert await failed(here)  # what is made once
        with garbage() as found:
            assert await failed(here)
    assert not found


async def test_an_address_without_a_listener_is_tried_again_and_reported_by_its_entry(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    entry = {"url": f"http://127.0.0.1:{port}/x?{SIGNATURE}", "auth": ENTRA}
    async with calling(tmp_path, {"flow": entry}) as here:
        with pytest.raises(CallError, match=r"^triggers\.flow cannot be reached \(ConnectError\)") as caught:
            await here.ctx.call("flow")
    assert (caught.value.status, len(here.waits)) == (0, 4)
    assert SIGNATURE not in str(caught.value)
    assert worth_retrying(caught.value)


# Errors


@pytest.mark.parametrize(
    ("answer", "auth", "reported"),
    [
        (
            problem(401, "unauthenticated"),
            ENTRA,
            [
                "triggers.flow returned 401 (unauthenticated)",
                "the audience https://service.flow.microsoft.com/ in the tenant",
                f"{GUID}9",
                f"by the client {GUID}1",
                "object id of this client's service principal",
                "allowed users of the flow's trigger",
            ],
        ),
        (
            JSONResponse({"error": {"code": "MisMatchingOAuthClaims", "message": "Marker"}}, 401),
            {**ENTRA, "audience": "https://other.example", "tenant_id": f"{GUID}5"},
            ["returned 401 (MisMatchingOAuthClaims)", f"in the tenant {GUID}5", "among its specific_users"],
        ),
        (Response(status_code=401), {**ENTRA, "audience": "api://x/"}, ["slash at the end"]),
        (
            Response(status_code=401),
            {"type": "none"},
            ["Its URL has a signature (sig), which was rejected", "copy the URL again", "[triggers.flow]"],
        ),
        (problem(403, "forbidden"), ENTRA, ["returned 403 (forbidden)", "role or permission"]),
        (problem(403, "forbidden"), {"type": "none"}, ["called without a credential", "write auth in [triggers.flow]"]),
        (
            Response("<h1>Marker</h1>", 403, media_type="text/html"),
            ENTRA,
            ["may be from a firewall or gateway", "User-Agent Postern/"],
        ),
        (Response(status_code=404), ENTRA, ["returned 404.", "the url of [triggers.flow]"]),
        (Response(status_code=405, headers={"Allow": "GET, PUT"}), ENTRA, ["It allows GET, PUT", "method="]),
        (Response(status_code=405, headers={"Allow": "<b>Marker"}), ENTRA, ["another method"]),
        (problem(508, "loop-detected"), ENTRA, ["508 (loop-detected)", "or a loop"]),
        (
            Response(status_code=302, headers={"Location": "https://Marker.example"}),
            ENTRA,
            ["redirects to another origin", "If that is a sign-in page, check the auth of [triggers.flow]"],
        ),
        (
            Response(status_code=308, headers={"Location": "/Marker"}),
            ENTRA,
            ["Redirects are not followed: write the address"],
        ),
        (Response(status_code=302), ENTRA, ["Redirects are not followed: write the address"]),
        (Response(status_code=302, headers={"Location": "https://[Marker"}), ENTRA, ["redirects to another origin"]),
        (problem(500, "workflow-failed", detail="Marker"), ENTRA, ["triggers.flow returned 500 (workflow-failed)."]),
        (problem(400, "<script>Marker"), ENTRA, ["triggers.flow returned 400."]),
        (problem(400, "MarkerThatLooksLikeACode"), ENTRA, ["triggers.flow returned 400."]),
        (
            JSONResponse({"error": {"code": "MisMatchingOAuthClaims", "message": "Marker"}}, 403),
            ENTRA,
            ["returned 403 (MisMatchingOAuthClaims)", "https://service.flow.microsoft.com/", "allowed users"],
        ),
    ],
)
async def test_an_error_names_its_entry_and_how_to_fix_it(
    there: Any, tmp_path: Path, answer: Response, auth: Any, reported: list[str]
):
    counterpart, url = there
    counterpart.answers = [answer]
    entry = {"url": f"{url}/x?{SIGNATURE}", "auth": auth}
    async with calling(tmp_path, {"flow": entry}, tenant_id=f"{GUID}9") as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow", {"body": "Marker"})
    text = str(caught.value)
    assert [part for part in reported if part not in text] == []
    for written in (text, repr(caught.value)):
        assert not any(secret in written for secret in ("Marker", SIGNATURE, TOKEN, url))
    assert caught.value.trigger == "triggers.flow"


def test_a_flow_called_with_another_audience_gets_its_own(tmp_path: Path):
    url = "https://1.2.environment.api.powerplatform.com:443/powerautomate/automations/direct/workflows/3/triggers/x"
    entry = {"url": url, "auth": {**ENTRA, "audience": "api://x"}}
    settings = load_settings({}, folder=tmp_path, defaults={"tenant_id": f"{GUID}9", "triggers": {"flow": entry}})
    target = Targets(settings, dict).find("flow")
    assert (target.flow, target.keyed, target.runs) == (True, False, "")
    assert "https://service.flow.microsoft.com/ in the public cloud" in doubts(target)


def test_a_managed_identity_speaks_for_this_server_where_no_secret_is_named(tmp_path: Path):
    own = {
        **{name: value for name, value in OWN.items() if name != "client_secret_name"},
        "public_url": "https://x.example",
    }
    for credential in ("managed_identity", "workload_identity"):
        settings = load_settings({}, folder=tmp_path, defaults={**own, "azure_credential": credential})
        auth = Targets(settings, lambda: SERVED).find("guarded-one").auth
        assert (auth.federated, auth.client_id, auth.client_secret) == (True, f"{GUID}8", None)


async def test_an_error_has_what_its_author_needs_to_go_on(there: Any, tmp_path: Path):
    counterpart, url = there
    headers = {"X-Run-Id": RUN, "Retry-After": "9", "Set-Cookie": "a=b"}
    counterpart.answers = [problem(409, "workflow-problem", headers, detail="already booked", run_id=RUN)]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow")
    error = caught.value
    assert (error.status, error.code, error.problem["detail"], error.run_id) == (
        409,
        "workflow-problem",
        "already booked",
        RUN,
    )
    assert (error.headers, retry_after(error, 0)) == ({"Retry-After": "9"}, 9)
    assert not worth_retrying(error), "what a run came to is no better the next time"


@pytest.mark.parametrize(
    "content", [b"[" * 70_000, b"{" + b" " * 70_000 + b"}", b"[1]", b"{", b'{"error":"text"}', b"null"]
)
async def test_a_problem_that_cannot_be_read_is_none(there: Any, tmp_path: Path, content: bytes):
    counterpart, url = there
    counterpart.answers = [Response(content, 400, media_type="application/problem+json")]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow")
    assert caught.value.problem in ({}, {"error": "text"})


@pytest.mark.parametrize(
    ("name", "settings", "reported"),
    [
        (
            "guarded-on",
            {},
            [
                "Did you mean guarded-one?",
                "Triggers in postern.toml: flow",
                "guarded-one, open-one",
                "triggers.guarded-on",
            ],
        ),
        ("floww", {}, ["Did you mean flow?"]),
        ("open-one", {"public_url": None}, ["POSTERN_PUBLIC_URL is not set", "the workflow open-one"]),
        ("open-one", {"public_url": "http://postern.example"}, ["POSTERN_PUBLIC_URL is plain http", "https://"]),
        ("guarded-one", {"client_id": None}, ["POSTERN_CLIENT_ID is not set", "the workflow guarded-one"]),
        ("guarded-one", {"client_secret_name": None}, ["POSTERN_CLIENT_SECRET_NAME is not set", "managed_identity"]),
    ],
)
async def test_what_cannot_be_called_says_which_setting_or_name_to_fix(
    tmp_path: Path, name: str, settings: dict[str, Any], reported: list[str]
):
    given: dict[str, Any] = {"public_url": "https://postern.example", **OWN, **settings}
    given = {setting: value for setting, value in given.items() if value is not None}
    async with calling(tmp_path, {"flow": {"url": "https://flow.example"}}, SERVED, **given) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call(name)
    assert [part for part in reported if part not in str(caught.value)] == []
    assert (caught.value.sent, worth_retrying(caught.value)) == (False, False)
    assert [(call.name, call.error, call.status) for call in here.noted] == [(name, "CallError", None)]


async def test_without_a_server_a_call_says_so(tmp_path: Path):
    from tests.runs.contexts import context

    with pytest.raises(LookupError, match="there is no server to call"):
        await context().call("greet")


# The record


async def test_calls_are_on_record_with_a_link_that_has_no_secret(there: Any, tmp_path: Path):
    counterpart, url = there
    flows = JSONResponse("yes", headers={"x-ms-workflow-run-id": "08584693987124562873218764598CU12"})
    counterpart.answers = [
        flows,
        JSONResponse("yes", headers=OUTCOME),
        JSONResponse("yes", headers=OUTCOME),
        problem(401, "no"),
    ]
    entries = {
        "flow": {"url": f"{url}/paths/invoke?{SIGNATURE}", "auth": ENTRA},
        "postern": {"url": f"{url}/at/triggers/greet?{SIGNATURE}", "auth": {**ENTRA, "audience": "api://x"}},
        "webhook": {"url": f"{url}/triggers/Marker"},
    }
    async with calling(tmp_path, entries, SERVED, public_url=url, **OWN) as here:
        await here.ctx.call("flow")
        await here.ctx.call("postern")
        await here.ctx.call("webhook")
        with pytest.raises(CallError):
            await here.ctx.call("guarded-one")
    found = [(call.number, call.name, call.run_id, call.url, call.status, call.error) for call in here.noted]
    assert found == [
        (1, "flow", "08584693987124562873218764598CU12", f"{url}/paths/invoke", 200, ""),
        (2, "postern", RUN, f"{url}/at/runs/{RUN}", 200, ""),
        (3, "webhook", RUN, url, 200, ""),
        (4, "guarded-one", "", "", 401, "CallError"),
    ]
    assert all(call.ended_at >= call.started_at for call in here.noted)


async def test_a_trigger_without_a_signature_that_requires_a_token_says_so(there: Any, tmp_path: Path):
    counterpart, url = there
    counterpart.answers = [Response(status_code=401)]
    async with calling(tmp_path, {"flow": {"url": url}}) as here:
        with pytest.raises(CallError, match=r"without a token: write auth = .* in \[triggers\.flow\]"):
            await here.ctx.call("flow", {})


@pytest.mark.parametrize(
    ("auth", "reported", "never"),
    [
        ({"type": "none"}, "Check the headers of [triggers.flow], and the secrets that they name", "without a token"),
        (ENTRA, "If a gateway rejected it, check the secrets that its headers name", "without a token"),
    ],
)
async def test_a_401_of_an_entry_with_headers_names_them(
    there: Any, tmp_path: Path, auth: Any, reported: str, never: str
):
    """API Management answers so if its key is wrong."""
    counterpart, url = there
    counterpart.answers = [problem(401, "Access denied"), problem(403, "Access denied")]
    entry = {"url": f"{url}/x", "auth": auth, "headers": {"Ocp-Apim-Subscription-Key": {"key_vault": "apim"}}}
    async with calling(tmp_path, {"flow": entry}) as here:
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow", {})
        assert reported in str(caught.value)
        assert never not in str(caught.value)
        with pytest.raises(CallError) as caught:
            await here.ctx.call("flow", {})
        assert "without a credential" not in str(caught.value)


@pytest.mark.parametrize("to", ["https://postern.example/triggers/open-one", "/elsewhere"])
async def test_a_redirect_of_this_server_s_address_names_the_setting(there: Any, tmp_path: Path, to: str):
    counterpart, url = there
    counterpart.answers = [Response(status_code=308, headers={"Location": to})]
    async with calling(tmp_path, {}, SERVED, RUN, public_url=f"{url}/prefix", **OWN) as here:
        with pytest.raises(CallError, match="set POSTERN_PUBLIC_URL to the address that it redirects to"):
            await here.ctx.call("open-one")
