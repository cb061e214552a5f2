"""How many consents one person begins, and what becomes of the link of one that could not be begun."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postern.api.grant_actions import Asker
from postern.browser_secrets import hash_of
from postern.connections.grants.entries import GrantedEntry
from postern.console.consent import Consent, store
from postern.console.cookies import cookies_at
from postern.console.limits import OF_ADDRESS, OF_PERSON
from postern.errors import Problem
from postern.journal import authorizations, invitations
from postern.journal.shares import ANONYMOUS
from postern.settings import Connection, GrantedAuth
from tests.databases import put_sqlite
from tests.journal.engines import empty_journal

pytestmark = pytest.mark.anyio

ADDRESS = "https://postern.example"


class Stand:
    """Actions that keep nothing, and a provider that sends browsers anywhere."""

    async def own_of(self, *_: Any) -> Any:
        return SimpleNamespace(grant=None)

    async def write(self, _: Any) -> bool:
        return True

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
    auth = GrantedAuth.model_construct(flow="authorization_code", client_id="me", token_url="https://a.example/token")
    found = Connection.model_construct(base_url="https://a.example", auth=auth)
    entry = GrantedEntry("tickets", "connections.tickets", found, auth)

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


def test_a_link_by_which_nothing_could_be_begun_is_not_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An operator would have to make another one."""
    engine = empty_journal(put_sqlite(tmp_path / "journal.db"))
    link, begun = (
        hash_of("link"),
        authorizations.Authorization(hash_of("state"), hash_of("browser"), "consent", "", 1.0),
    )
    using = partial(invitations.use, hash_=link, name="tickets", owner="t/lisa", request_id="r1", now=1.0)
    look = partial(invitations.look, hash_=link, name="tickets", owner="t/lisa", now=1.0)

    def fails(*_: Any) -> None:
        raise RuntimeError

    def in_transaction(using: Any) -> bool:
        with engine.begin() as connection:
            return store(connection, begun, using)

    try:
        with engine.begin() as connection:
            invitations.invite(connection, invitations.Invitation(link, "tickets", "t/lisa", "t/ada", 1.0))
        with monkeypatch.context() as patch:
            patch.setattr(authorizations, "begin", fails)
            with pytest.raises(RuntimeError):
                in_transaction(using)
        with engine.begin() as connection:
            assert look(connection) is not None
        assert in_transaction(using)
        with engine.begin() as connection:
            assert look(connection) is None
        assert not in_transaction(partial(using, request_id="r2"))
    finally:
        engine.dispose()
