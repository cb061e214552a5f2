"""`/console/revocations`: the list, the form, and what other pages fill in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postern.access import Caller
from postern.console.page import Viewer
from postern.journal import revocations as table
from postern.journal import signed_urls
from postern.journal.revocations import Kind, Revocation
from postern.journal.run import actor
from postern.journal.sessions import Session
from postern.journal.signed_urls import SignedUrl
from postern.local_tenant import LocalTenant
from tests.console.operator_pages import Pages, open_pages

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PATH = "/console/revocations"
GUID = "cccccccc-0000-0000-0000-000000000001"
XSS = "<script>alert(1)</script>\"'>"


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages on a journal of their own."""
    async with open_pages(tmp_path, local_tenant, people={"lisa": local_tenant.people["lisa"]}) as pages:
        yield pages


def stored(pages: Pages) -> list[Revocation]:
    with pages.engine.connect() as connection:
        return table.listed(connection, 0.0, 100, active=False)


async def test_access_is_ended_by_a_name_of_people_and_the_page_says_since_when(pages: Pages):
    page = await pages.post(PATH, kind="caller", subject="lisa", reason="stolen laptop", hours="0,5")
    assert page.status_code == 200
    assert "The access of lisa has ended. New tokens are refused too, until" in page.text
    assert "stolen laptop" in page.text
    [made] = stored(pages)
    assert made.rule.subject == pages.services.settings.people["lisa"]
    assert made.rule.bars_until == made.rule.not_before + 1800
    assert '"name": "Ada"' not in page.text


async def test_an_application_and_a_token_are_ended_by_their_ids(pages: Pages):
    for kind, subject in (("client", GUID), ("token", "A-token_id")):
        assert (await pages.post(PATH, kind=kind, subject=f" {subject} ")).status_code == 200
    assert {(each.rule.kind, each.rule.subject) for each in stored(pages)} == {
        (Kind.CLIENT, GUID),
        (Kind.TOKEN, "A-token_id"),
    }


async def test_signed_urls_that_were_made_with_the_access_are_named(pages: Pages):
    made = SignedUrl("orders", "partner-x", "primary", None, (), actor(Caller("application", client_id=GUID)), 1.0)
    with pages.engine.begin() as connection:
        signed_urls.make(connection, made)
    page = await pages.post(PATH, kind="client", subject=GUID)
    assert "still work: <code>orders/partner-x</code>." in page.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": "caller", "subject": XSS}, "subject is an object id or a client id"),
        ({"kind": "caller", "subject": GUID, "hours": "soon"}, "hours is a number"),
        ({"kind": "caller", "subject": GUID, "hours": "-1"}, "for_seconds is from 1 second"),
        ({"kind": "caller", "subject": GUID, "hours": "nan"}, "for_seconds is from 1 second"),
        ({"kind": "everyone", "subject": GUID}, "kind is one of caller, client, token"),
        ({"subject": GUID}, "kind is one of"),
    ],
)
async def test_a_mistake_is_named_above_the_form_that_keeps_what_was_typed(
    pages: Pages, fields: dict[str, str], says: str
):
    page = await pages.post(PATH, **fields)
    assert page.status_code == 400
    assert says in page.text
    assert "<script>alert" not in page.text
    assert stored(pages) == []


async def test_a_link_of_another_page_fills_the_form_in(pages: Pages):
    """So that a finding is turned into a revocation in two clicks."""
    page = await pages.get(f"{PATH}?kind=client&subject={GUID}&reason=two+networks")
    assert '<option value="client" selected>' in page.text
    assert f'value="{GUID}"' in page.text
    assert 'value="two networks"' in page.text
    assert stored(pages) == []


async def test_what_is_filled_in_is_text(pages: Pages):
    page = await pages.get(f"{PATH}?kind={XSS}&subject={XSS}&reason={XSS}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text


async def test_the_list_takes_one_back(pages: Pages):
    await pages.post(PATH, kind="caller", subject="lisa")
    [made] = stored(pages)
    page = await pages.get(PATH)
    assert f"/console/revocations/{made.id}/lift" in page.text
    done = await pages.post(f"{PATH}/{made.id}/lift")
    assert (done.status_code, done.headers["Location"]) == (303, PATH)
    assert "No revocation is in effect" in (await pages.get(PATH)).text
    every = (await pages.get(f"{PATH}?all=yes")).text
    assert "taken back" in every
    assert "/lift" not in every
    assert (await pages.post(f"{PATH}/x/lift")).status_code == 404


async def test_pages_of_the_list_follow_one_another(pages: Pages, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.console.revocations.PAGE", 2)
    for number in range(3):
        await pages.post(PATH, kind="client", subject=f"{GUID[:-1]}{number}")
    newest = stored(pages)
    first = await pages.get(PATH)
    assert f"after={newest[1].id}" in first.text
    second = await pages.get(f"{PATH}?after={newest[1].id}")
    assert newest[2].rule.subject in second.text
    assert newest[0].rule.subject not in second.text
    assert (await pages.get(f"{PATH}?after=x")).status_code == 400


async def test_ones_own_access_is_ended_with_a_word_more_and_leads_to_the_page_for_signed_out_people(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
):
    own = Caller("user", object_id=GUID, tenant_id=pages.services.settings.tenant_id or "")
    monkeypatch.setattr("tests.console.operator_pages.viewer", lambda: _viewer(own))
    page = await pages.post(PATH, kind="caller", subject=GUID)
    assert page.status_code == 409
    assert "It ends your own access" in page.text
    assert 'name="confirm"' in page.text
    assert stored(pages) == []
    done = await pages.post(PATH, kind="caller", subject=GUID, confirm="yes")
    assert (done.status_code, done.headers["Location"]) == (303, "/console/signed-out")
    assert len(stored(pages)) == 1


def _viewer(caller: Caller) -> Viewer:
    session = Session("0" * 64, caller.tenant_id, caller.object_id, "Ada", frozenset(), "", 0.0, 0.0)
    return Viewer(session, caller, operator=True)
