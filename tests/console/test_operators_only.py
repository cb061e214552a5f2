"""The pages for operators behind the guard of a real server: for others they do not exist."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from postern.local_tenant import LocalTenant
from tests.console.consoles import Console, open_console
from tests.console.operator_pages import WORKFLOWS

pytestmark = [pytest.mark.anyio, pytest.mark.process]

PAGES = (
    "/console/refusals",
    "/console/workflows",
    "/console/workflows/payroll",
    "/console/access",
    "/console/access.csv",
    "/console/secrets",
    "/console/explain",
    "/console/explain?workflow=payroll&person=lisa",
    "/console/audit",
    "/console/findings",
    "/console/runs/parked",
)
FOR_ALL = ("/console/connections", "/connect")
"""Pages that show more to operators."""
FORMS = ("/console/explain", "/console/secrets/read", "/console/connections/connections.graph/test")


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("operators")
    (folder / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    async with open_console(local_tenant, folder) as opened:
        yield opened


async def test_an_operator_sees_every_page_and_others_none(console: Console):
    ada, lisa = await console.signed_in("ada"), await console.signed_in("lisa")
    for path in PAGES:
        assert (await ada.get(path)).status_code == 200, path
        assert (await lisa.get(path)).status_code == 404, path
    for path in FOR_ALL:
        shown = (await ada.get(path)).text, (await lisa.get(path)).text
        assert ("<b>graph</b>" in shown[0]) is (path == "/console/connections")
        assert 'href="/connect/my-profile"' in shown[1], path
        assert "graph" not in shown[1]
    for path in FORMS:
        assert (await lisa.post(path, data={"workflow": "payroll", "token": "x"})).status_code == 404, path


async def test_a_token_is_explained_and_a_connection_tested_by_forms_of_the_console_only(
    console: Console, local_tenant: LocalTenant
):
    ada = await console.signed_in("ada")
    token = local_tenant.token("lisa")
    with capture_logs() as logs:
        explained = await ada.post("/console/explain", data={"workflow": "payroll", "token": token})
        foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
        rejected = await ada.post("/console/explain", foreign, {"workflow": "payroll", "token": token})
    assert "payroll admits this caller" in explained.text
    assert rejected.status_code == 403
    for part in token.split("."):
        assert part not in explained.text + rejected.text + str(logs)
    tested = await ada.post("/console/connections/connections.graph/test")
    assert "graph works" in tested.text
    for path, back in ((FORMS[2], "/console/connections"), (FORMS[1], "/console/secrets")):
        assert (await ada.get(path)).headers["location"] == back
    read = await ada.post("/console/secrets/read")
    assert "postern-client-secret" in read.text
    assert local_tenant.client_secret("postern") not in tested.text + read.text
