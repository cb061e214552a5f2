"""The console is part of a server whose settings have what it needs. The log says where it is, or what is missing."""

import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.assembly import journal
from postern.browser_secrets import hash_of
from postern.journal.retention import Retention
from postern.journal.sessions import Ends
from postern.local_tenant import LocalTenant
from tests.console.consoles import AT_HTTPS, AT_LOOPBACK, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]


async def test_the_log_says_where_the_console_is(local_tenant: LocalTenant, tmp_path: Path):
    with capture_logs() as logs:
        async with open_console(local_tenant, tmp_path, AT_HTTPS, console="operators"):
            pass
    [line] = [line for line in logs if line["event"].startswith("console-")]
    assert (line["event"], line["address"], line["open_to"]) == (
        "console-on",
        f"{AT_HTTPS}/console",
        "operators",
    )


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"console": "off"}, "POSTERN_CONSOLE is off"),
        ({"client_id": None}, "POSTERN_CLIENT_ID is not set"),
        ({"client_secret_name": None}, "neither POSTERN_CLIENT_SECRET_NAME is set nor"),
    ],
)
async def test_without_what_it_needs_there_is_none_and_the_log_says_what(
    local_tenant: LocalTenant, tmp_path: Path, settings: dict[str, Any], missing: str
):
    with capture_logs() as logs:
        async with open_console(local_tenant, tmp_path, **settings) as opened:
            for path in ("/console", "/console/sign-in", "/console/callback", "/console/assets/x/console.css"):
                answer = await opened.browser().get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    [line] = [line for line in logs if line["event"].startswith("console-")]
    assert line["event"] == "console-off"
    assert line["missing"].startswith(missing)


async def test_at_the_local_tenant_the_console_is_at_the_servers_own_address(local_tenant: LocalTenant, tmp_path: Path):
    """Whatever the public URL is, as in a copied `.env`."""
    async with open_console(
        local_tenant, tmp_path, AT_LOOPBACK, public_url="https://flows.example", local_address=AT_LOOPBACK
    ) as opened:
        browser = await opened.signed_in("lisa")
        answer = await browser.get("/console/sessions")
        assert answer.status_code == 200
        assert "flows.example" not in answer.text + str(answer.headers)


async def test_the_settings_say_when_sessions_end_and_when_they_are_deleted(
    local_tenant: LocalTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Ends] = []
    real = Retention

    def retention(write: Any, days: int, *, ends: Ends, **more: Any) -> Any:
        made.append(ends)
        return real(write, days, ends=ends, **more)

    monkeypatch.setattr(journal, "Retention", retention)
    async with open_console(local_tenant, tmp_path, session_idle_minutes=5, session_hours=1) as opened:
        browser = await opened.signed_in("lisa")
        for column, seconds in (("seen_at", 290), ("seen_at", 301), ("created_at", 3601)):
            then = time.time() - seconds
            where = f"WHERE id_hash = '{hash_of(browser.cookie())}'"
            opened.execute(f"UPDATE sessions SET seen_at = {time.time()}, {column} = {then} {where}")
            assert (await browser.get("/console/sessions")).status_code == (200 if seconds == 290 else 303)
    assert made == [Ends(idle=300.0, life=3600.0)]
