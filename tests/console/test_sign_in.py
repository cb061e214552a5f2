"""People sign in to the console at the real local tenant, and out again."""

from collections.abc import AsyncIterator

import pytest

from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, AT_LOOPBACK, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture(scope="module", params=[AT_LOOPBACK, AT_HTTPS])
async def console(
    request: pytest.FixtureRequest, local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Console]:
    async with open_console(local_tenant, tmp_path_factory.mktemp("console"), request.param) as opened:
        yield opened


async def test_a_person_signs_in_by_one_click_and_sees_the_page_that_was_opened_first(console: Console):
    browser = console.browser()
    first = await browser.get("/console/sessions")
    assert first.status_code == 303
    to = first.headers["location"].removeprefix(console.address.removeprefix(console.origin))
    began = await browser.get(to)
    assert began.status_code == 302
    done = await browser.get(await browser.choose("lisa", began.headers["location"]))
    prefix = console.address.removeprefix(console.origin)
    assert (done.status_code, done.headers["location"]) == (303, f"{prefix}/console/sessions")
    page = await browser.get("/console/sessions")
    assert page.status_code == 200
    assert "Lisa Moreau" in page.text
