"""Links by which operators ask a person to connect something: for that person, once, and kept nowhere."""

import asyncio
import html
import re
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from postern.browser_secrets import hash_of, is_secret
from postern.console.links import page_of
from postern.http_client import Response
from postern.journal.invitations import KEPT_FOR
from postern.local_tenant import LocalTenant
from tests.console.consents import Installation, installation, onward
from tests.console.consoles import Browser
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]
PEOPLE = "/console/connections/connections.tickets/people"


@pytest.fixture(scope="module")
async def at(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    people = {"lisa": local_tenant.people["lisa"], "ada": local_tenant.people["ada"]}
    async with installation(local_tenant, tmp_path_factory.mktemp("links"), people=people) as made:
        yield made


@pytest.fixture
async def ada(at: Installation) -> Browser:
    for emptied in ("grants", "invitations", "authorizations"):
        at.console.execute(f"DELETE FROM {emptied}")
    return await at.console.signed_in("ada")


async def link_for(ada: Browser, person: str, path: str = PEOPLE) -> tuple[str, Response]:
    """The path of a link that an operator makes in the console, and the page that shows it."""
    made = await ada.post(path, data={"person": person})
    assert made.status_code == 200, made.text
    (url,) = re.findall(r"<code>(http://127\.0\.0\.1:8080/connect/[^<]+)</code>", made.text)
    return html.unescape(url).removeprefix(ada.console.address), made


async def test_a_person_connects_by_a_link_which_says_who_asked(at: Installation, ada: Browser):
    path, _ = await link_for(ada, "lisa")
    lisa = at.console.browser()
    opened = await lisa.get(path)
    page = opened.headers["location"]
    assert page == f"/connect/tickets/link/{hash_of(path.rpartition('/')[2])}"
    first = await lisa.get(page)
    assert first.headers["location"].startswith("/console/sign-in?to=")
    signed_in = await lisa.sign_in("lisa", page)
    assert signed_in.headers["location"] == page
    shown = (await lisa.get(page)).text
    assert "ada asks you to connect this" in shown
    url = onward(await lisa.post(page, data={}))
    back = await lisa.get(await at.agree(url))
    assert back.headers["location"] == "/connect/tickets"
    assert [row[1] for row in at.grants()] == [at.owner("lisa")]
    assert (await lisa.get(page)).status_code == 404
    assert (await lisa.post(page)).status_code == 404


async def test_a_link_is_there_for_its_person_only(at: Installation, ada: Browser):
    """Not for the operator who made it either."""
    path, _ = await link_for(ada, at.tenant.people["lisa"])
    page = (await ada.get(path)).headers["location"]
    assert (await ada.get(page)).status_code == 404
    assert (await ada.post(page)).status_code == 404
    lisa = await at.console.signed_in("lisa")
    assert (await lisa.get(page)).status_code == 200


async def test_a_scanner_that_opens_a_link_changes_nothing(at: Installation, ada: Browser):
    path, _ = await link_for(ada, "lisa")
    scanner = at.console.browser()
    page = (await scanner.get(path)).headers["location"]
    before = at.console.execute("SELECT * FROM invitations")
    for method in ("GET", "HEAD"):
        for each in (path, page):
            assert (await scanner.client.request(method, each)).status_code == 303
    assert (await scanner.post(page)).status_code == 401
    assert (await scanner.post(page, headers={})).status_code == 403
    assert (await scanner.post(path)).status_code == 401
    assert at.console.execute("SELECT * FROM invitations") == before
    lisa = await at.console.signed_in("lisa")
    for method in ("GET", "HEAD"):
        assert (await lisa.client.request(method, page)).status_code == 200
    assert at.console.execute("SELECT used_by FROM invitations") == [(None,)]
    assert at.console.execute("SELECT count(*) FROM authorizations WHERE kind = 'consent'") == [(0,)]


async def test_a_link_that_is_used_twice_at_once_is_used_once(at: Installation, ada: Browser):
    path, _ = await link_for(ada, "lisa")
    lisa = await at.console.signed_in("lisa")
    page = (await lisa.get(path)).headers["location"]
    both = await asyncio.gather(*(lisa.post(page) for _ in range(4)))
    assert sorted(each.status_code for each in both) == [200, 404, 404, 404]
    assert at.console.execute("SELECT count(*) FROM authorizations WHERE kind = 'consent'") == [(1,)]


async def test_a_link_expires(at: Installation, ada: Browser):
    path, _ = await link_for(ada, "lisa")
    lisa = await at.console.signed_in("lisa")
    page = (await lisa.get(path)).headers["location"]
    at.console.execute(f"UPDATE invitations SET created_at = created_at - {KEPT_FOR}")
    assert (await lisa.get(page)).status_code == 404
    assert (await lisa.post(page)).status_code == 404


async def test_the_secret_of_a_link_is_on_the_page_that_makes_it_and_nowhere_else(at: Installation, ada: Browser):
    with capture_logs() as logs:
        path, made = await link_for(ada, "lisa")
        secret = path.rpartition("/")[2]
        assert is_secret(secret)
        lisa = at.console.browser()
        page = (await lisa.get(path)).headers["location"]
        answers = [await lisa.get(page), await lisa.sign_in("lisa", page), await lisa.get(page), await lisa.post(page)]
        answers += [await ada.get(PEOPLE), await ada.get(page), await ada.get("/console/connections")]
    tables = ("invitations", "authorizations", "refusals", "sessions")
    stored = str([at.console.execute(f"SELECT * FROM {table}") for table in tables])
    shown = "".join(each.text + str(each.headers) + str(each.url) for each in answers)
    assert secret in made.text
    assert secret not in stored + shown + str(logs)


async def test_an_operator_tests_an_entry_and_nothing_is_sent_as_a_person(at: Installation, ada: Browser):
    """The stages are those of `postern connections test`."""
    lisa = await at.console.signed_in("lisa")
    await at.connect(lisa)
    tested = await ada.post("/console/connections/connections.tickets/test")
    assert tested.status_code == 200
    assert "connections.tickets, connected by each person" in tested.text
    assert "each person has their own: Connected 1" in tested.text
    assert at.provider.families[-1].refresh not in tested.text


@pytest.mark.parametrize("typed", ["nobody", "", "C33A0E11", "<b>x</b>", "a" * 3000])
async def test_a_person_that_is_none_gets_no_link(at: Installation, ada: Browser, typed: str):
    made = await ada.post(PEOPLE, data={"person": typed})
    assert made.status_code == 400
    assert "<b>x" not in made.text
    assert at.console.execute("SELECT count(*) FROM invitations") == [(0,)]


async def test_people_are_not_operators_by_a_link(at: Installation, ada: Browser):
    """Neither the page of owners nor a link for a shared connection is there."""
    lisa = await at.console.signed_in("lisa")
    for path in (PEOPLE, f"{PEOPLE}/end"):
        assert (await lisa.get(path)).status_code == 404
        assert (await lisa.post(path, data={"person": "lisa", "owner": at.owner("ada")})).status_code == 404
    for entry in ("connections.shared", "connections.none", "tickets"):
        assert (await ada.get(f"/console/connections/{entry}/people")).status_code == 404


async def test_an_operator_sees_owners_and_their_states_and_ends_a_grant(at: Installation, ada: Browser):
    """Not with what account, and without its scopes and tokens."""
    lisa = await at.console.signed_in("lisa")
    await at.connect(lisa)
    at.console.execute("UPDATE grants SET account_name = 'lisa-at-work', state = 'Broken', reason = 'revoked'")
    shown = (await ada.get(PEOPLE)).text
    assert "1 Broken" in shown
    assert "revoked the sign-ins (AADSTS50173). Its owner must connect it again." in shown
    assert "lisa-at-work" not in shown
    assert "1 person has a broken grant of tickets" in (await ada.get("/console")).text
    assert (await ada.post(f"{PEOPLE}/end", data={"owner": "x"})).status_code == 404
    ended = await ada.post(f"{PEOPLE}/end", data={"owner": at.owner("lisa")})
    assert "The grant is ended here" in ended.text
    assert at.grants() == []


async def test_the_list_of_owners_goes_on_after_an_owner_and_nothing_else(at: Installation, ada: Browser):
    lisa = await at.console.signed_in("lisa")
    await at.connect(lisa)
    for after, status in (
        (f"{'0' * 8}-0000-0000-0000-{'0' * 12}", 200),
        (at.owner("lisa"), 200),
        ("%00", 404),
        ("x", 404),
    ):
        assert (await ada.get(f"{PEOPLE}?after={after}")).status_code == status, after


@table(
    ("name", "secret", "leads"),
    [
        ("tickets", "s" * 43, True),
        ("triggers.pay", "s" * 43, True),
        ("tickets", "s" * 42, False),
        ("tickets", "a" * 64, False),
        ("", "s" * 43, False),
        ("a\r\nb", "s" * 43, False),
        ("é", "s" * 43, False),
        ("..", "!" * 43, False),
    ],
)
def test_where_a_link_leads_is_decided_without_looking_anything_up(name: str, secret: str, leads: bool):
    found = page_of(name, secret)
    assert (found is not None) is leads
    if found is not None:
        assert secret not in found
