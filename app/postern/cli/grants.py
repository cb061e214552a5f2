"""`postern connections link` and `disconnect`: what operators do with connections that people grant; and the states of
all of them, for the list."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer
from sqlalchemy.exc import DBAPIError

from postern.access import GUID
from postern.cli.api_client import As, Json, TokenFile, connected_api, token_source
from postern.cli.open_database import opened, reported_faults
from postern.cli.terminal import err, out, plain, print_json, stop
from postern.cli.workspace import Workspace, workspace
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.states import NO_REFRESH_TOKEN, SOON, Shown
from postern.errors import DatabaseFault
from postern.journal.database.engine import file_of
from postern.journal.grant_upkeep import owners_of
from postern.journal.grants import disconnect as delete_grant
from postern.journal.grants import grant_name
from postern.journal.reading.grant_counts import Counted, count_grants
from postern.settings import Settings
from postern.settings.sources import did_you_mean

States = Mapping[str, int]
"""How many grants an entry has in each state."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="As tickets, or triggers.pay.")]
NOBODY = "nobody yet"


def link(
    name: Name,
    person: Annotated[
        str, typer.Option("--for", metavar="WHO", help="The person: a name in the table people, or an object id.")
    ],
    who: As = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Make a link by which a person connects NAME, and print it. For operators.

    Send it to that person. It works once, within four hours, after that person has signed in. Others get 404.
    """
    here = workspace()
    entry = granted(name, here.settings)
    if not entry.per_user:
        stop(f"{entry.entry} is shared: an operator connects it on the console's page Connections, without a link.", 2)
    object_id = object_id_of(person, here)
    made = asyncio.run(_request(here, who, token_file, "POST", _path(entry.name) + "/links", body={"for": object_id}))
    if as_json:
        print_json(made)
        return
    out.print(plain(str(made.get("url"))), markup=False, highlight=False, soft_wrap=True)
    line = f"For {person} only, once, until {made.get('expires_at')}. It has a secret: send it to nobody else."
    err.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def disconnect(
    name: Name,
    person: Annotated[
        str | None,
        typer.Option("--for", metavar="WHO", help="Whose grant: a name in the table people, or an object id."),
    ] = None,
    who: As = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """End your own grant of NAME, or that of a shared connection; with --for another person's, such as one who has
    left. For operators, except for their own.

    The tokens are deleted here, and the grant is ended at the provider if it can be. The entry stays in postern.toml.
    If NAME is not in postern.toml any more, its grants are deleted from the database of the settings, after a question.
    """
    here = workspace()
    if grant_name(name) not in granted_entries(here.settings) and _delete_left(name, person, here):
        return
    entry = granted(name, here.settings)
    query = None if person is None else {"for": object_id_of(person, here)}
    ended = asyncio.run(_request(here, who, token_file, "DELETE", _path(entry.name), query=query))
    if as_json:
        print_json(ended)
        return
    err.print(f"{entry.entry} is disconnected.", markup=False, highlight=False)
    if ended.get("message"):
        err.print(plain(str(ended["message"])), markup=False, highlight=False, soft_wrap=True)


def _delete_left(name: str, person: str | None, here: Workspace) -> bool:
    """Delete the grants of an entry that is gone: all of them, or one person's. False if there are none."""
    url, known = here.settings.database_url, grant_name(name)
    path = file_of(url)
    if path is not None and not path.exists():
        return False
    with reported_faults(url), opened(url, writing=True) as engine:
        with engine.begin() as connection:
            owners = owners_of(connection, known)
        if person is not None:
            end = f"/{object_id_of(person, here)}"
            owners = [owner for owner in owners if owner.endswith(end)]
        if not owners:
            return False
        grants = "1 grant" if len(owners) == 1 else f"{len(owners):,} grants"
        line = f"{name} is no entry that people connect, but the database has {grants} of it."
        line += " They are not ended at the provider."
        err.print(plain(line), markup=False, highlight=False, soft_wrap=True)
        typer.confirm("Delete?", abort=True, err=True)
        for owner in owners:
            with engine.begin() as connection:
                delete_grant(connection, known, owner)
    err.print(f"{grants} deleted.", markup=False, highlight=False)
    return True


def granted(name: str, settings: Settings) -> GrantedEntry:
    """The entry of this name that people connect. Exits with 2 if there is none."""
    known = granted_entries(settings)
    found = known.get(grant_name(name))
    if found is None:
        hint = did_you_mean(name, list(known))
        those = f"Those are: {', '.join(known)}." if known else 'They have auth with flow = "authorization_code".'
        stop(f"{name} is not an entry that people connect. {hint if hint.endswith('?') else those}", 2)
    return found


def object_id_of(who: str, here: Workspace) -> str:
    """The object id of a name in the table people, or of an object id itself. Exits with 2 if it is neither."""
    people = here.settings.people
    found = people.get(who, who).lower()
    if not GUID.fullmatch(found):
        known = f"It has {', '.join(people)}." if people else "It is empty."
        stop(f"--for {who}: neither an object id nor a name in the table people. {known}", 2)
    return found


def states(settings: Settings) -> tuple[dict[str, States], str]:
    """The states of the grants of each entry that people connect, from the database of the settings; and why they are
    not known, "" if they are. A shared entry without a grant is `Needed`."""
    known = granted_entries(settings)
    if not known:
        return {}, ""
    path = file_of(settings.database_url)
    found: Mapping[str, Counted] = {}
    try:
        if path is None or path.exists():
            with opened(settings.database_url) as engine, engine.begin() as connection:
                found = count_grants(connection, time.time(), SOON, NO_REFRESH_TOKEN)
    except DatabaseFault as fault:
        return {}, str(fault)
    except (DBAPIError, OSError) as error:
        return {}, f"the database of POSTERN_DATABASE_URL cannot be read: {type(error).__name__}"
    return {each.entry: _states(each, found.get(name, Counted())) for name, each in known.items()}, ""


def _states(entry: GrantedEntry, found: Counted) -> States:
    numbers = {Shown.CONNECTED: found.connected, Shown.EXPIRING: found.expiring, Shown.BROKEN: found.broken}
    there = {str(state): number for state, number in numbers.items() if number}
    return there if there or entry.per_user else {str(Shown.NEEDED): 1}


def in_words(found: States | None) -> str:
    """The states in the list, with how many there are of each."""
    if found is None:
        return "unknown"
    return ", ".join(f"{count} {state}" for state, count in found.items()) or NOBODY


def _path(name: str) -> str:
    return f"/connections/{quote(name, safe='')}"


async def _request(
    here: Workspace, who: str | None, token_file: str | None, method: str, path: str, **more: Any
) -> dict[str, Any]:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request(method, path, **more))[1]
