"""An operator tests an entry that each person connects on the console's page: nobody's token is used or named."""

from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from tests.console.consoles import open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_an_operator_sees_the_stages_and_sends_nothing_as_a_person(tmp_path: Path, local_tenant: LocalTenant):
    """Not even as themself: the page says who has which state in numbers."""
    async with open_console(local_tenant, tmp_path) as console:
        ada = await console.signed_in("ada")
        page = await ada.post("/console/connections/connections.my-profile/test")
        assert page.status_code == 200
        for said in ("POSTERN_GRANTS_KEY_NAME, version", "people sign in at 127.0.0.1", "nobody has connected it"):
            assert said in page.text
        assert "no request was sent, because it would be sent as a person" in page.text
        lisa = await console.signed_in("lisa")
        assert (await lisa.post("/console/connections/connections.my-profile/test")).status_code == 404
