"""What the caller of a run gets if a person has to connect something first."""

import json
from typing import Any

import pytest

from postern import Caller, CallError, ConsentRequired, Request, anonymous, workflow
from postern.access import ANYONE
from postern.connections.grants.no_grant import NoGrant
from postern.errors import PROBLEMS
from postern.journal.run import Run, State
from postern.journal.secured import kept_error
from postern.runs.outcomes import raised
from postern.transient_errors import worth_retrying
from tests.table import table

PAGES = "https://postern.example"
LISA = Caller("user", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-0000000000aa")
APPLICATION = Caller("application", LISA.object_id, LISA.tenant_id)
TEXT = "connections.tickets is not connected. Connect it."
MISSING = NoGrant("connections.tickets", "not-connected", "is not connected", "Connect it", "/connect/tickets")


@workflow(access=anonymous())
async def hello(ctx: Any) -> None: ...


@workflow(access=anonymous(), secure_inputs=True)
async def secret_hello(ctx: Any) -> None: ...


def made(caller: Caller = LISA, of: Any = hello) -> Run:
    return Run("run-1", of, caller, Request("POST", "/triggers/hello"), 1.0)


def of(error: BaseException, caller: Caller = LISA, pages: str = PAGES) -> dict[str, Any]:
    outcome = raised(error, made(caller), pages)
    assert (outcome.state, outcome.status, outcome.error_type) == (State.FAILED, 424, "consent-required")
    assert outcome.error_traceback == ""
    document: dict[str, Any] = json.loads(outcome.content)
    assert (document["code"], document["status"], document["run_id"]) == ("consent-required", 424, "run-1")
    return document


@table(
    ("path", "caller", "pages", "url"),
    [
        ("/connect/tickets", LISA, PAGES, f"{PAGES}/connect/tickets"),
        ("/connect/triggers.pay", LISA, PAGES, f"{PAGES}/connect/triggers.pay"),
        ("", LISA, PAGES, None),
        ("/connect/tickets", LISA, "", None),
        ("/connect/tickets", APPLICATION, PAGES, None),
        ("/connect/tickets", ANYONE, PAGES, None),
        ("//thief.example", LISA, PAGES, None),
        ("@thief.example/connect/x", LISA, PAGES, None),
        ("/connect/../console", LISA, PAGES, None),
        ("/connect/tickets?to=x", LISA, PAGES, None),
    ],
)
def test_the_page_to_connect_it_is_named_to_a_person_only(path: str, caller: Caller, pages: str, url: str | None):
    error = NoGrant("connections.tickets", "not-connected", "is not connected", "Connect it", path)
    assert of(error, caller, pages).get("connect_url") == url


@pytest.mark.parametrize("error", [MISSING, MISSING.own(), MISSING.for_call()])
def test_a_signed_in_caller_reads_why_and_an_anonymous_one_does_not(error: ConsentRequired):
    assert of(error)["detail"] == of(error, APPLICATION)["detail"] == TEXT
    assert of(error, ANYONE)["detail"] == PROBLEMS["consent-required"].detail


def test_the_reason_is_for_the_log_and_the_text_for_the_record():
    outcome = raised(MISSING, made(), PAGES)
    assert (outcome.place, outcome.error_message, outcome.shown) == ("not-connected", TEXT, True)
    run = made(of=secret_hello)
    assert kept_error(secret_hello, raised(MISSING, run, PAGES)) == ("consent-required", "")


@pytest.mark.parametrize("caller", [LISA, APPLICATION, ANYONE])
def test_a_run_passes_on_what_a_run_that_it_called_needs_without_its_text_and_its_page(caller: Caller):
    there = {"code": "consent-required", "detail": "marker", "connect_url": "https://thief.example/connect/tickets"}
    document = of(CallError("workflow child", "text", status=424, problem=there), caller)
    assert "connect_url" not in document
    assert "marker" not in str(document)
    assert document["detail"].startswith("A workflow that this one called")


@pytest.mark.parametrize(
    "error",
    [
        CallError("triggers.x", "text", status=424, problem={"code": "other"}),
        CallError("triggers.x", "text", status=500, problem={"code": "consent-required"}),
        CallError("triggers.x", "text", status=424),
    ],
)
def test_other_errors_of_calls_are_failures_of_the_workflow(error: CallError):
    assert raised(error, made(), PAGES).status == 500


def test_an_author_s_own_subclass_shows_no_more_than_its_text():
    class Mine(ConsentRequired):
        def __str__(self) -> str:
            raise RuntimeError

    assert of(Mine("connections.x", "text", "mine", "/connect/x"))["detail"] == PROBLEMS["consent-required"].detail


def test_it_is_of_no_use_to_repeat_it_soon():
    assert not worth_retrying(MISSING)
    assert (MISSING.sent, MISSING.final, MISSING.status) == (False, True, 0)
