"""How many consents one person begins, however many sessions they have."""

from types import SimpleNamespace
from typing import Any

import pytest

from postern.api.grant_actions import Asker
from postern.console.consent import Consent
from postern.console.cookies import cookies_at
from postern.console.limits import OF_ADDRESS, OF_PERSON
from postern.errors import Problem
from postern.journal.shares import ANONYMOUS

pytestmark = pytest.mark.anyio

ADDRESS = "https://postern.example"


class Stand:
    """Actions that keep nothing, and a provider that sends browsers anywhere."""

    async def own_of(self, *_: Any) -> Any:
        return SimpleNamespace(grant=None)

    async def write(self, _: Any) -> None:
        pass

    def now(self) -> float:
        return 0.0

    async def authorization_url(self, *_: Any) -> str:
        return "https://provider.example/"


def visit(session: int) -> Any:
    viewer = SimpleNamespace(session=SimpleNamespace(id_hash=f"{session:064}"))
    return SimpleNamespace(viewer=viewer, request=SimpleNamespace(scope={"headers": []}))


async def test_sessions_of_one_person_together_begin_a_hundred_consents_a_minute():
    """Else a person who signs in again and again would leave nothing for the others of what a process admits."""
    clock = iter(range(10_000))
    stand: Any = Stand()
    consent = Consent(stand, lambda _: stand, cookies_at(ADDRESS), ADDRESS, clock=lambda: next(clock) / 20)
    entry: Any = SimpleNamespace(name="tickets")

    async def begins(session: int, person: str) -> bool:
        asker = Asker(person, False, (ANONYMOUS, ""), "")
        try:
            await consent.begin(visit(session), entry, asker, "/connect/tickets")
        except Problem as problem:
            assert problem.code == "too-many-consents"
            return False
        return True

    sessions = OF_PERSON // OF_ADDRESS
    assert all([await begins(session, "lisa") for session in range(sessions) for _ in range(OF_ADDRESS)])
    assert not await begins(sessions, "lisa")
    assert await begins(sessions + 1, "ada")
