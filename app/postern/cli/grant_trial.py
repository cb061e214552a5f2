"""What `postern connections test` needs for an entry that people connect: the grants in the database of the settings,
and whose grant is tested."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from postern.cli.grants import object_id_of
from postern.cli.open_database import opened, reported_faults
from postern.cli.terminal import stop
from postern.cli.workspace import Workspace
from postern.connections.entry_trial import OfPeople, stages_of
from postern.connections.grants.trial import Whose
from postern.connections.stage import Stage
from postern.http_client import http_client
from postern.journal.grants import owner_of
from postern.journal.server_processes import Transaction
from postern.settings import GrantedAuth
from postern.settings.descriptions import entries

_T = TypeVar("_T")


def is_granted(entry: str, here: Workspace) -> bool:
    """Whether people connect this entry."""
    return isinstance(entries(here.settings)[entry].auth, GrantedAuth)


def whose_grant(entry: str, here: Workspace, person: str | None) -> Whose:
    """Whose grant the option `--for` names. A request is sent as a person of the local tenant only. Exits with 2 if it
    names nobody."""
    auth = entries(here.settings)[entry].auth
    if not isinstance(auth, GrantedAuth) or not auth.per_user:
        if person is not None:
            stop(f"--for is for entries that each person connects. Leave it out: {entry} is not one of them.", 2)
        return Whose()
    if person is None:
        return Whose()
    owner = owner_of(here.settings.tenant_id or "", object_id_of(person, here))
    return Whose(owner, person, sends=here.local is not None)


async def granted_stages(entry: str, here: Workspace, whose: Whose) -> AsyncIterator[Stage]:
    """The stages of an entry that people connect."""
    from postern.assembly.entra_accounts import entra_accounts

    settings = here.settings
    with _reading(settings.database_url) as read:
        async with http_client(settings.ca_bundle, proxy=settings.way_out) as client:
            of = OfPeople(read, entra_accounts(settings, client), whose)
            async for stage in stages_of(entry, settings, of):
                yield stage


@contextmanager
def _reading(url: str) -> Iterator[Transaction]:
    with reported_faults(url), opened(url) as engine:

        async def read(query: Callable[[Connection], _T]) -> _T:
            with engine.begin() as connection:
                return query(connection)

        yield read
