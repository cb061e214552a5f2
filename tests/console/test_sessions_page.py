"""`/console/sessions`: who is signed in, and who may end which session."""

import re
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.browser_secrets import hash_of, new_secret
from postern.console.sessions_page import PAGE, place, position
from postern.errors import Problem
from postern.journal.sessions import Session
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, Browser, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with open_console(local_tenant, tmp_path_factory.mktemp("sessions"), AT_HTTPS) as opened:
        yield opened


async def end(browser: Browser, of: Browser) -> str:
    """End the session of another browser. Returns where the page leads to then."""
    answer = await browser.post(f"/console/sessions/{hash_of(of.cookie())}/end")
    assert answer.status_code == 303
    return str(answer.headers["location"])


async def lives(browser: Browser) -> bool:
    return (await browser.get("/console/sessions")).status_code == 200


async def test_a_person_sees_and_ends_their_own_sessions_only(console: Console):
    here, there, adas = [await console.signed_in(who) for who in ("lisa", "lisa", "ada")]
    page = (await here.get("/console/sessions")).text
    shown = set(re.findall(r"/sessions/([0-9a-f]{64})/end", page))
    assert {hash_of(here.cookie()), hash_of(there.cookie())} <= shown
    assert hash_of(adas.cookie()) not in shown
    assert "Ada Okafor" not in page
    assert page.count("this browser") == 1
    assert await end(here, there) == "/base/console/sessions"
    assert not await lives(there)
    assert await end(here, adas) == "/base/console/sessions"
    assert await lives(adas)
    assert await lives(here)


async def test_an_operator_sees_and_ends_any(console: Console):
    operator, lisas = await console.signed_in("ada"), await console.signed_in("lisa")
    page = (await operator.get("/console/sessions")).text
    assert "Lisa Moreau" in page
    assert lisas.address in page
    assert lisas.cookie() not in page
    await end(operator, lisas)
    assert not await lives(lisas)


async def test_the_end_of_the_own_session_leads_to_the_page_that_needs_none(console: Console):
    """A form must not be sent on to Entra."""
    browser = await console.signed_in("lisa")
    assert await end(browser, browser) == "/base/console/signed-out"
    assert not await lives(browser)


async def test_a_session_id_itself_ends_nothing(console: Console):
    browser = await console.signed_in("lisa")
    assert (await browser.post(f"/console/sessions/{browser.cookie()}/end")).status_code == 404
    assert await lives(browser)


async def test_the_list_goes_on_where_it_ended(console: Console):
    operator = await console.signed_in("ada")
    now = time.time()
    values = ", ".join(
        f"('{hash_of(new_secret())}', 't', 'o', '<b>Many</b>', '[]', '192.0.2.1', {now - 60}, {now - 9 - number})"
        for number in range(PAGE + 5)
    )
    columns = "id_hash, tenant_id, object_id, name, roles, address, created_at, seen_at"
    console.execute(f"INSERT INTO sessions ({columns}) VALUES {values}")
    first = (await operator.get("/console/sessions")).text
    older = re.search(r'href="/base(/console/sessions\?after=[^"]+)"', first)
    assert older
    second = (await operator.get(older[1].replace("&amp;", "&"))).text
    found = [set(re.findall(r"/sessions/([0-9a-f]{64})/end", page)) for page in (first, second)]
    assert len(found[0]) == PAGE
    assert not found[0] & found[1]
    assert len(found[1]) >= 5
    assert "<b>Many</b>" not in first + second
    assert len(first.encode()) < 60_000


session = st.builds(
    lambda seen_at: Session(hash_of(new_secret()), "t", "o", "", frozenset(), "", seen_at, seen_at),
    st.floats(0, 4e9),
)


@given(session)
def test_a_place_in_the_list_is_read_as_it_was_written(given_session: Session):
    assert position(place(given_session)) == (given_session.seen_at, given_session.id_hash)


@given(st.text())
def test_any_other_place_is_a_fault_of_the_filter(text: str):
    try:
        found = position(text)
    except Problem as error:
        assert error.code == "bad-filter"
    else:
        assert found is None or found[0] == found[0]
