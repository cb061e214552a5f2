"""An operator ends the access of a person on the console: the person is signed out, and signs in again later."""

import re
from collections.abc import AsyncIterator

import pytest

from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]
PATH = "/console/revocations"


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    async with open_console(local_tenant, tmp_path_factory.mktemp("access-ended"), AT_HTTPS) as opened:
        yield opened


async def test_two_clicks_from_the_list_of_sessions_sign_a_person_out_until_it_is_taken_back(console: Console):
    operator, lisas = await console.signed_in("ada"), await console.signed_in("lisa")
    sessions = (await operator.get("/console/sessions")).text
    lisa = console.local.people["lisa"]
    assert f"{PATH}?kind=caller&amp;subject={lisa}" in sessions
    filled = (await operator.get(f"{PATH}?kind=caller&subject={lisa}")).text
    assert f'value="{lisa}"' in filled
    done = await operator.post(PATH, data={"kind": "caller", "subject": lisa})
    assert done.status_code == 200
    assert (await lisas.get("/console/sessions")).status_code == 303  # to the sign-in
    assert (await operator.get("/console/sessions")).status_code == 200
    # Entra dates the ID token of a new sign-in five minutes back.
    assert (await console.browser().sign_in("lisa")).status_code == 403
    [lift] = re.findall(rf"/base({PATH}/[0-9a-f-]+/lift)", (await operator.get(PATH)).text)
    assert (await operator.post(lift)).status_code == 303
    assert (await (await console.signed_in("lisa")).get("/console/sessions")).status_code == 200


async def test_other_people_do_not_find_the_page_nor_the_link(console: Console):
    gils = await console.signed_in("gil")
    assert (await gils.get(PATH)).status_code == 404
    assert (await gils.post(PATH, data={"kind": "caller", "subject": console.local.people["lisa"]})).status_code == 404
    assert PATH not in (await gils.get("/console/sessions")).text
