"""The journal or Entra is away: pages say so, and work again afterwards without a restart."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from postern.console.faults import FAULTS
from postern.errors import PROBLEMS
from postern.journal.journal import Journal, unavailable
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@dataclass
class Switch:
    """Whether the journal is away."""

    away: bool = False


@pytest.fixture(scope="module")
def journal() -> Any:
    switch = Switch()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("read", "write"):
            patch.setattr(Journal, name, switched(getattr(Journal, name), switch))
        yield switch


def switched(real: Any, switch: Switch) -> Any:
    async def call(self: Journal, *arguments: Any, **more: Any) -> Any:
        if switch.away:
            raise unavailable("MARKER")
        return await real(self, *arguments, **more)

    return call


@pytest.fixture(scope="module")
async def console(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory, journal: Switch
) -> AsyncIterator[Console]:
    async with open_console(local_tenant, tmp_path_factory.mktemp("outages"), AT_HTTPS) as opened:
        yield opened


async def test_while_the_journal_is_away_each_page_says_so_and_works_afterwards(console: Console, journal: Switch):
    browser, signing_in = await console.signed_in("lisa"), console.browser()
    callback = await signing_in.choose("ada", await signing_in.begin())
    journal.away = True
    try:
        asked = [
            await browser.get("/console/sessions"),
            await browser.get("/console/sign-in"),
            await signing_in.get(callback),
            await browser.post("/console/sign-out"),
            await browser.post(f"/console/sessions/{'0' * 64}/end"),
        ]
    finally:
        journal.away = False
    for answer in asked:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert PROBLEMS["journal-unavailable"].detail in answer.text
        assert "MARKER" not in answer.text
        assert "ry again</a>" in answer.text
        assert "set-cookie" not in answer.headers
    assert (await browser.get("/console/sessions")).status_code == 200
    assert (await signing_in.get(callback)).status_code == 303
    assert (await browser.post("/console/sign-out")).status_code == 303
    signed_out = await console.browser().get("/console/signed-out")
    assert signed_out.status_code == 200


async def test_while_entra_is_away_people_who_are_signed_in_go_on(
    local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: Any, **__: Any) -> Any:
        raise OSError("MARKER")

    monkeypatch.setattr("postern.assembly.console.fetch_endpoints", away)
    async with open_console(local_tenant, tmp_path_factory.mktemp("entra-away"), AT_HTTPS) as opened:
        answer = await opened.browser().get("/console/sign-in")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert FAULTS["sign-in-unavailable"].detail in answer.text
        assert "MARKER" not in answer.text
        page = await opened.browser().get("/console/signed-out")
        assert (page.status_code, "logout" in page.text) == (200, False)
