"""The pages of findings: for operators, with the evidence, acknowledged in one click and revoked in two."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from postern.ids import id_at, new_id
from postern.journal.finding import Evidence, FindingKind, Sighting, Who
from postern.journal.findings import record
from postern.local_tenant import LocalTenant
from tests.console.consoles import Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]
NOW = 1_800_000_000.0
EVIL = "<script>alert(1)</script>"
RUN, REQUEST = id_at(NOW), id_at(NOW + 1)


@pytest.fixture
async def console(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Console]:
    async with open_console(local_tenant, tmp_path) as console:
        yield console


def found(console: Console, kind: FindingKind = FindingKind.NEW_NETWORK, who: Who | None = None, **more: str) -> str:
    """The id of a finding about Lisa."""
    tenant, lisa = console.local.tenant_id, console.local.directory.people["lisa"].object_id
    who = who or Who("user", lisa, tenant, "99999999-9999-4999-8999-999999999999", EVIL, "uti-1-of-this-token-xyz")
    evidence = Evidence((RUN,), (REQUEST,), ("192.0.2.9",), ("192.0.2.0/24",), ("payroll",))
    subject = more.get("subject", f"{tenant}/{lisa}")
    made = Sighting(new_id(), kind, subject, NOW, NOW, 1, who, "192.0.2.9", "payroll", evidence)
    engine = create_engine(console.database_url)
    with engine.begin() as connection:
        [finding] = record(connection, made.id, 1, NOW, [made])
    engine.dispose()
    return finding.id


def state(console: Console) -> str:
    return str(console.execute("SELECT state FROM findings")[0][0])


async def test_they_are_for_operators(console: Console):
    browser = await console.signed_in("lisa")
    finding = found(console)
    paths = ["/console/findings", f"/console/findings/{finding}", f"/console/findings/{finding}/revoke"]
    assert [(await browser.get(path)).status_code for path in paths] == [404] * 3
    assert (await browser.post(f"/console/findings/{finding}/acknowledge")).status_code == 404
    assert "finding" not in (await browser.get("/console")).text
    assert state(console) == "new"


async def test_the_list_leads_to_the_evidence_and_that_to_the_runs(console: Console):
    browser = await console.signed_in("ada")
    finding = found(console)
    page = (await browser.get("/console/findings?state=new")).text
    assert f'href="/console/findings/{finding}"' in page
    one = (await browser.get(f"/console/findings/{finding}")).text
    assert f'href="/console/runs/{RUN}"' in one
    assert f'href="/console/refusals/{REQUEST}"' in one
    assert "192.0.2.0/24" in one
    assert "uti-1-of-this-token-xyz" in one
    assert EVIL not in page + one
    assert "&lt;script&gt;" in one


async def test_the_home_page_says_how_many_are_new(console: Console):
    browser = await console.signed_in("ada")
    found(console)
    page = (await browser.get("/console")).text
    assert "1 new finding" in page
    assert 'href="/console/findings?state=new"' in page


async def test_one_is_acknowledged_with_one_click(console: Console):
    browser = await console.signed_in("ada")
    finding = found(console)
    answer = await browser.post(f"/console/findings/{finding}/acknowledge")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/findings/{finding}")
    page = (await browser.get(f"/console/findings/{finding}")).text
    assert "Acknowledged by Ada Okafor" in page
    assert "/acknowledge" not in page
    assert "No finding is new" in (await browser.get("/console/findings?state=new")).text


@pytest.mark.parametrize(
    ("what", "bar", "kind", "subject", "barred"),
    [("token", "8h", "token", "uti-1-of-this-token-xyz", False), ("caller", "8h", "caller", "lisa", True)],
)
async def test_and_turned_into_a_revocation_with_two(
    console: Console, what: str, bar: str, kind: str, subject: str, barred: bool
):
    browser = await console.signed_in("ada")
    finding = found(console)
    page = (await browser.get(f"/console/findings/{finding}/revoke")).text
    assert f'value="{what}"' in page
    answer = await browser.post(f"/console/findings/{finding}/revoke", data={"what": what, "bar": bar})
    assert answer.status_code == 303
    assert state(console) == "revoked"
    [(made, about, until, reason)] = console.execute("SELECT kind, subject, bars_until, reason FROM revocations")
    people = console.local.directory.people
    assert (made, about) == (kind, people[subject].object_id if subject in people else subject)
    assert (until is not None) == barred
    assert reason == f"A new network (finding {finding})"
    assert "Access revoked by Ada Okafor" in (await browser.get(f"/console/findings/{finding}")).text


async def test_the_own_access_is_revoked_after_a_question(console: Console):
    browser = await console.signed_in("ada")
    ada = console.local.directory.people["ada"].object_id
    finding = found(console, who=Who("user", ada, console.local.tenant_id, "", "Ada"))
    path = f"/console/findings/{finding}/revoke"
    asked = await browser.post(path, data={"what": "caller", "bar": ""})
    assert (asked.status_code, state(console)) == (409, "new")
    assert 'name="confirm"' in asked.text
    assert (await browser.post(path, data={"what": "caller", "confirm": "yes"})).status_code == 303
    assert state(console) == "revoked"


@pytest.mark.parametrize("data", [{"bar": ""}, {"what": "client", "bar": "9h"}, {"what": "everything"}])
async def test_nothing_is_revoked_that_was_not_chosen(console: Console, data: dict[str, str]):
    browser = await console.signed_in("ada")
    finding = found(console)
    assert (await browser.post(f"/console/findings/{finding}/revoke", data=data)).status_code == 400
    assert (state(console), console.execute("SELECT * FROM revocations")) == ("new", [])


async def test_a_finding_about_an_address_names_nobody_to_revoke(console: Console):
    browser = await console.signed_in("ada")
    finding = found(console, FindingKind.REFUSALS_FROM_ADDRESS, Who(), subject="address/192.0.2.9")
    assert "Revoke access" not in (await browser.get(f"/console/findings/{finding}")).text
    assert "names no token" in (await browser.get(f"/console/findings/{finding}/revoke")).text


async def test_the_list_has_pages_and_unknown_findings_are_said(console: Console):
    browser = await console.signed_in("ada")
    for number in range(51):
        found(console, subject=f"t/{number}")
    page = (await browser.get("/console/findings")).text
    older = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "1 finding" in (await browser.get(older)).text
    assert (await browser.get(f"/console/findings/{new_id()}")).status_code == 404
    assert (await browser.get("/console/findings?state=old")).status_code == 400
