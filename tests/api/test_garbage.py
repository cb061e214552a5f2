"""Requests to the run API leave nothing for the garbage collector, whatever their end is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from tests.api.installations import ADAS_RUN, ANONYMOUS_RUN, RUNNING, UNKNOWN, RunApi, open_run_api
from tests.garbage import garbage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PAGES = [
    *("/runs", "/runs?limit=x", "/refusals", "/workflows", "/approvals", "/openapi.json", "/metrics", "/nowhere"),
    *(f"/runs/{run_id}{page}" for run_id in (ADAS_RUN, ANONYMOUS_RUN, UNKNOWN) for page in ("", "/result", "/logs")),
]
WHO = ("", "ada", "expired", "garbage", "operator")


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    async with open_run_api(tmp_path, local_tenant) as run_api:
        yield run_api


async def test_pages_and_refusals_leave_no_frames_of_theirs(run_api: RunApi):
    async def ask() -> set[int]:
        found = {(await run_api.get(page, who)).status_code for page in PAGES for who in WHO}
        cancelled = {(await run_api.post(f"/runs/{RUNNING}/cancel", who)).status_code for who in ("", "lisa")}
        return found | cancelled

    await ask()  # what is made once
    with garbage() as found:
        statuses = await ask()
    assert {200, 400, 401, 404} <= statuses
    frames = {name: count for name, count in found.items() if ".api." in name or ".access." in name}
    assert not frames, found
