"""`/console/approvals`: what waits for a person, and the form that decides it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from postern.access import specific_users, tenant_users
from postern.access.written import written
from postern.console.bodies import SHOWN_AT_FIRST
from postern.journal.durable_runs import NODE
from postern.journal.durable_tables import approvals, durable_runs
from postern.journal.run import actor
from tests.api.records import ADA, LISA
from tests.console.run_visits import OPERATOR, RunConsole, Seen, open_run_console, viewer_of
from tests.databases import put_sqlite
from tests.journal.recorded import NOON, id_number, run_row
from tests.journal.test_reads_of_durable_runs import approval_row, durable_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

RUN = id_number(1)
PAGE = f"/console/approvals/{RUN}/manager"
XSS = "<script>alert(1)</script>\"'>"
WHO = written(tenant_users())
FOR_LISA = written(specific_users("lisa"))


@pytest.fixture
async def console(tmp_path: Path, own_modules: None) -> AsyncIterator[RunConsole]:
    """A run of ada that waits for a decision of lisa."""
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        ask(console, 1, object_id=ADA)
        yield console


def ask(console: RunConsole, number: int, name: str = "manager", object_id: str = ADA, **approval: Any) -> str:
    """A run that waits for an approval, which it asked for at its first checkpoint."""
    run_id = id_number(number)
    waits = {"state": "Waiting", "status": None, "ended_at": None, "outputs": None, "outputs_form": None, "node": NODE}
    console.put(run_row(number, object_id=object_id, workflow="book", **waits))
    asked = {"workflow": "book", "who": FOR_LISA, "barred": json.dumps([object_id]), "since": NOON + number}
    with console.engine.begin() as connection:
        row = durable_row(run_id, "waiting", workflow="book", reason="approval", waits_for=name)
        connection.execute(insert(durable_runs), row)
        data = {"data": '{"amount":12}', **asked, **approval}
        connection.execute(insert(approvals), approval_row(run_id, 1, name, **data))
    return run_id


def stored(console: RunConsole, run_id: str = RUN, number: int = 1) -> Any:
    with console.engine.begin() as connection:
        mine = approvals.c.run_id == run_id, approvals.c.number == number
        return connection.execute(select(approvals).where(*mine)).one()


def change(console: RunConsole, **values: Any) -> None:
    with console.engine.begin() as connection:
        connection.execute(update(approvals).where(approvals.c.run_id == RUN).values(**values))


def decide(console: RunConsole, who: str = "lisa", decision: str = "approve", **fields: str) -> Any:
    return console.post(PAGE, who, **{"decision": decision, "number": "1", "comment": "", **fields})


def decides(page: Seen) -> bool:
    """Whether the page has a form that decides."""
    return 'name="decision"' in page.page


async def test_a_person_sees_what_waits_for_a_decision_and_decides_it_by_a_form(console: RunConsole):
    page = await console.get("/console/approvals", "lisa")
    assert "Workflow book. It waits since 1 Jan 2026 12:00:01 ." in page.text
    assert '"amount": 12' in page.text
    forms = [given for tag, given in page.tags() if tag == "form"]
    assert [(form["method"], form["action"]) for form in forms] == [("post", PAGE)]
    sent = await decide(console, comment=" fine\r\nby me ")
    assert (sent.status, sent.to) == (303, f"{PAGE}?number=1")
    row = stored(console)
    assert (row.state, row.comment, row.decided_at) == ("approved", "fine\nby me", NOON + 3600)
    assert json.loads(row.decided_by)["object_id"] == LISA
    assert console.come == [RUN]
    shown = await console.get(sent.to, "lisa")
    assert "You approved this. The run goes on with your decision." in shown.text
    assert not decides(shown)
    listed = await console.get("/console/approvals", "lisa")
    assert "Nothing waits for you" in listed.text
    assert "Your latest decisions" in listed.text
    assert "fine by me" in listed.text


async def test_a_rejection_is_a_decision_too(console: RunConsole):
    assert (await decide(console, decision="reject")).status == 303
    assert stored(console).state == "rejected"
    assert "You rejected this." in (await console.get(f"{PAGE}?number=1", "lisa")).text


async def test_opening_a_page_decides_nothing(console: RunConsole):
    for path in ("/console/approvals", PAGE, f"{PAGE}?number=1&decision=approve&comment=x&approved=true"):
        assert (await console.get(path, "lisa")).status == 200
    assert stored(console).state == "waiting"


@pytest.mark.parametrize("who", ["ada", "operator"])
async def test_an_approval_does_not_exist_for_people_who_are_not_asked(console: RunConsole, who: str):
    assert "Nothing waits for you" in (await console.get("/console/approvals", who)).text
    for answer in (await console.get(PAGE, who), await decide(console, who)):
        assert (answer.status, answer.page) == (404, "unknown-approval")
    assert stored(console).state == "waiting"


@pytest.mark.parametrize(
    "path",
    [
        f"/console/approvals/{id_number(9)}/manager",
        f"/console/approvals/{RUN}/other",
        "/console/approvals/none/manager",
        f"{PAGE}?number=2",
        f"{PAGE}?number=x",
        f"{PAGE}?number={'1' * 30}",
    ],
)
async def test_what_was_not_asked_is_not_found(console: RunConsole, path: str):
    answer = await console.get(path, "lisa")
    assert (answer.status, answer.page) == (404, "unknown-approval")


async def test_who_caused_a_run_sees_that_another_person_decides(console: RunConsole):
    change(console, who=WHO)
    listed = await console.get("/console/approvals", "ada")
    assert "you caused these runs: another person decides" in listed.text
    page = await console.get(PAGE, "ada")
    assert "You caused this run: another person decides." in page.text
    assert not decides(listed)
    assert not decides(page)
    answer = await decide(console, "ada")
    assert (answer.status, answer.page) == (403, "self-approval")
    assert (await decide(console, "operator")).status == 303


async def test_who_resumed_a_run_does_not_decide_it(console: RunConsole):
    change(console, who=WHO)
    with console.engine.begin() as connection:
        connection.execute(update(durable_runs).values(resumed_by=json.dumps([["tenant", LISA]])))
    answer = await decide(console)
    assert (answer.status, answer.page) == (403, "self-approval")
    assert stored(console).state == "waiting"


async def test_the_page_says_that_the_person_who_began_the_chain_is_unknown(console: RunConsole):
    said = "The chain of calls began elsewhere, and the person who began it is unknown."
    assert said not in (await console.get(PAGE, "lisa")).text
    change(console, elsewhere=1)
    for path in ("/console/approvals", PAGE):
        assert said in (await console.get(path, "lisa")).text


@pytest.mark.parametrize(
    ("values", "said", "outcome"),
    [
        ({"state": "approved", "decided_at": NOON}, "The decision was made already", "approved"),
        ({"until": NOON + 60}, "the time for it is over", "timed out: nobody decided in time"),
        ({"state": "ended"}, "The run has ended already.", "not decided: the run ended first"),
    ],
)
async def test_a_decision_that_comes_late_is_said_on_the_page_of_the_approval(
    console: RunConsole, values: dict[str, Any], said: str, outcome: str
):
    by = {"decided_by": actor(viewer_of("operator", console.services).caller), "comment": "mine"}
    change(console, **values, **(by if "decided_at" in values else {}))
    answer = await decide(console, decision="reject")
    assert answer.status == 409
    assert "Your decision was not taken." in answer.text
    assert said in answer.text
    assert outcome in answer.text
    assert not decides(answer)
    assert "mine" not in answer.text  # who decided, and why, is for those who see the run
    assert stored(console).state == values.get("state", "waiting")


async def test_a_decision_is_for_the_approval_that_the_person_saw(console: RunConsole):
    change(console, state="approved", decided_at=NOON, decided_by=actor(viewer_of("lisa", console.services).caller))
    with console.engine.begin() as connection:
        again = approval_row(RUN, 5, "manager", who=FOR_LISA, data='{"amount":9000}')
        connection.execute(insert(approvals), again)
    answer = await decide(console, number="1")
    assert answer.status == 409
    assert stored(console, number=5).state == "waiting"
    assert "9000" in (await console.get(PAGE, "lisa")).text  # without a number it is the newest one
    for number in ("", "x"):
        assert (await decide(console, number=number)).status == 404
    assert stored(console, number=5).state == "waiting"


@pytest.mark.parametrize("fields", [{"decision": "maybe"}, {"decision": ""}, {"comment": "x" * 1001}])
async def test_a_form_that_does_not_decide_is_shown_again(console: RunConsole, fields: dict[str, str]):
    answer = await decide(console, **fields)
    assert answer.status == 400
    assert "Choose Approve or Reject" in answer.text
    assert decides(answer)
    assert stored(console).state == "waiting"


async def test_the_data_is_escaped_and_bounded(console: RunConsole):
    change(
        console,
        data=json.dumps([XSS, "\N{RIGHT-TO-LEFT OVERRIDE}", "x" * SHOWN_AT_FIRST, "the end"], ensure_ascii=False),
    )
    for path in ("/console/approvals", PAGE):
        page = await console.get(path, "lisa")
        assert "<script>alert" not in page.page
        assert XSS.replace('"', '\\"') in page.text
        assert "the end" not in page.text
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page.page
    [more] = [link for link in page.links("data=whole") if "manager" in link]
    assert "the end" in (await console.get(more, "lisa")).text


async def test_data_that_cannot_be_opened_is_missing_and_the_approval_is_listed(console: RunConsole):
    async def closed(*_: object) -> str:
        raise RuntimeError("the key is gone")

    object.__setattr__(console.services.approvals, "unseal", closed)
    page = await console.get("/console/approvals", "lisa")
    assert "The data cannot be read at the moment." in page.text
    assert "amount" not in page.text


async def test_a_session_proves_no_scope_and_no_membership(console: RunConsole):
    for mode in (tenant_users(scopes=["user_impersonation"]), tenant_users(guests=False)):
        change(console, who=written(mode))
        assert "Nothing waits for you" in (await console.get("/console/approvals", "lisa")).text
        assert (await decide(console)).status == 404
    assert stored(console).state == "waiting"


async def test_a_session_has_no_stronger_sign_in(console: RunConsole):
    change(console, who=written(tenant_users(auth_context="strong")))
    for path in ("/console/approvals", PAGE):
        page = await console.get(path, "lisa")
        assert "The sign-in of this page does not prove it: decide with your own client." in page.text
        assert not decides(page)
    answer = await decide(console)
    assert (answer.status, answer.page) == (403, "auth-context")
    assert stored(console).state == "waiting"


async def test_an_access_mode_that_cannot_be_bound_any_more_lets_nobody_decide(console: RunConsole):
    change(console, who=written(specific_users("gone")))
    assert (await decide(console)).status == 404
    assert stored(console).state == "waiting"


async def test_many_approvals_come_in_pages(console: RunConsole):
    for number in range(2, 23):
        ask(console, number)
    first = await console.get("/console/approvals", "lisa")
    assert first.page.count('value="approve"') == 20
    [following] = first.links("cursor=")
    second = await console.get(following, "lisa")
    assert second.page.count('value="approve"') == 2
    assert not second.links("cursor=")
    assert (await console.get("/console/approvals?cursor=x", "lisa")).page == "bad-filter"


async def test_a_person_reads_only_own_decisions(console: RunConsole):
    await decide(console, comment="for my eyes")
    for who in ("ada", "operator"):
        assert "for my eyes" not in (await console.get("/console/approvals", who)).text
    assert (await console.get(f"{PAGE}?number=1", "operator")).status == 404
    assert OPERATOR != LISA


async def test_a_form_that_was_opened_before_the_run_was_repeated_decides_nothing(console: RunConsole):
    seen = float(NOON + 1)
    assert f'name="since" value="{seen.hex()}"' in (await console.get(f"{PAGE}?number=1", "lisa")).page
    late = await decide(console, since=(seen - 60).hex())
    assert (late.status, "Your decision was not taken." in late.text) == (409, True)
    assert stored(console).state == "waiting"
    assert (await decide(console, since=seen.hex())).status == 303
