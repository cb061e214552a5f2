"""Grants are counted as their states are shown."""

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.grants import counts
from postern.connections.grants.counts import GrantCounts
from postern.connections.grants.reasons import NO_REFRESH_TOKEN
from postern.connections.grants.states import SOON, condition
from postern.errors import problem
from postern.journal.database.engine import open_engine
from postern.journal.grants import Grant, State, _values, find
from postern.journal.reading.grant_counts import Counted
from postern.journal.schema import grants

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
ENDS = (None, NOW - 1, NOW, NOW + 1, NOW + SOON, NOW + SOON + 1)
GRANT = Grant("tickets", "", "4711", "Lisa", "", ("repo",), "", "sealed", "v1", 1, "t/lisa", NOW, wrote="w")
ENTRIES = {"tickets": True, "wiki": False, "triggers.pay": False}


def every_kind() -> list[Grant]:
    kinds = product(("tickets", "wiki"), State, ("", "fewer-scopes", NO_REFRESH_TOKEN), ENDS, ENDS)
    return [
        replace(
            GRANT,
            connection=name,
            owner=f"t/{number}",
            state=state,
            reason=reason,
            access_expires_at=access,
            refresh_expires_at=refresh,
        )
        for number, (name, state, reason, access, refresh) in enumerate(kinds)
    ]


async def test_the_numbers_are_those_of_the_states_on_sqlite_and_postgresql(database_url: str):
    engine, made = open_engine(database_url, writing=True), every_kind()
    with engine.begin() as connection:
        connection.execute(grants.delete())
        connection.execute(grants.insert(), [_values(grant) for grant in made])
        assert find(connection, "tickets", "t/0") == made[0]

        async def read(operation: Any) -> Any:
            return operation(connection)

        counted = GrantCounts(read, ENTRIES, now=lambda: NOW)
        await counted.look()
    engine.dispose()
    expected = Counter((grant.connection, condition(grant, NOW).state.value) for grant in made)
    assert len(set(expected.values())) > 2
    assert {key: number for key, number in counted.found.items() if number} == expected | {
        ("triggers.pay", "Needed"): 1
    }
    assert {name for name, _ in counted.found} == set(ENTRIES)
    assert len(counted.found) == 4 * len(ENTRIES)


async def test_an_entry_that_is_not_in_the_settings_any_more_has_no_numbers():
    async def read(operation: Any) -> Any:
        return {"gone": Counted(1, 1, 1)}

    counted = GrantCounts(read, {"tickets": True})
    await counted.look()
    assert {name for name, _ in counted.found} == {"tickets"}
    assert sum(counted.found.values()) == 0


async def test_the_last_numbers_stay_while_the_journal_is_away_which_is_logged_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counts, "LOOK_EVERY", 0.0)
    looks: list[None] = []
    enough = asyncio.Event()

    async def read(operation: Any) -> Any:
        looks.append(None)
        if len(looks) > 4:
            enough.set()
        if len(looks) > 1:
            raise problem("journal-unavailable")
        return {}

    counted = GrantCounts(read, {"wiki": False})
    with capture_logs() as logs:
        task = asyncio.create_task(counted.run())
        await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert counted.found["wiki", "Needed"] == 1
    assert [(line["event"], line["cause"]) for line in logs] == [("grants-not-counted", "journal-unavailable")]
