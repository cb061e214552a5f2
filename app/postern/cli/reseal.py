"""`postern connections reseal`: after a new version of the key that seals grants."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import typer
from sqlalchemy import Connection, Engine

from postern.cli.api_client import Json
from postern.cli.open_database import opened, reported_faults
from postern.cli.terminal import err, plain, print_json, program, stop
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.connections.faults import ConnectionFault
from postern.connections.grants.resealing import Resealed, reseal_all
from postern.connections.sealing.vault_keys import GRANTS_KEY, VaultKeys

MOST_NAMED = 50
"""Grants that do not open which are named."""

_T = TypeVar("_T")


def reseal(as_json: Json = False) -> None:
    """Seal the tokens of all grants with the newest version of the key (POSTERN_GRANTS_KEY_NAME), so that former
    versions can be disabled in Key Vault.

    It uses the database and the vault of the settings, and servers may run meanwhile. If it is interrupted, run it
    again. Exit code 1 if a grant is still sealed by a former version.
    """
    here = workspace()
    url = here.settings.database_url
    try:
        with reported_faults(url), opened(url, writing=True) as engine:
            found = asyncio.run(_reseal(here, engine))
    except ConnectionFault as fault:
        hint = f" The local tenant's Key Vault runs only with `{program()} dev`." if here.local else ""
        stop(f"{plain(str(fault))}{hint}")
    if as_json:
        unopened = [{"connection": name, "owner": owner} for name, owner in found.unopened]
        print_json({"key_version": found.key_version, "resealed": found.done, "left": found.left, "unopened": unopened})
    else:
        _show(found, here.settings.secret_max_age)
    raise typer.Exit(1 if found.left else 0)


async def _reseal(here: Workspace, engine: Engine) -> Resealed:
    from postern.connections.vault.vault import vault_of
    from postern.identity import CLOUDS

    if here.local:
        export_local_credential(here.local)
    settings = here.settings
    vault = vault_of(settings, settings.authority or CLOUDS[settings.cloud].authority)

    def transact(operation: Callable[[Connection], _T]) -> _T:
        with engine.begin() as connection:
            return operation(connection)

    try:
        with err.status("Sealing grants …") as status:

            def progress(done: int, total: int) -> None:
                status.update(f"Sealing grants … {done:,} of {total:,}")

            return await reseal_all(VaultKeys(vault, settings.grants_key_name or "", GRANTS_KEY), transact, progress)
    finally:
        await vault.aclose()


def _show(found: Resealed, seconds: int) -> None:
    grants = "1 grant was" if found.done == 1 else f"{found.done:,} grants were"
    lines = [f"{grants} sealed with version {found.key_version} of the key."]
    for name, owner in found.unopened[:MOST_NAMED]:
        lines.append(
            f"{name}, {owner or 'shared'}: does not open; its record was changed, or its key is not in the vault."
        )
    if len(found.unopened) > MOST_NAMED:
        lines.append(f"… and {len(found.unopened) - MOST_NAMED:,} others do not open.")
    if found.unopened:
        lines.append(
            "Enable the former versions of the key in Key Vault, or disconnect these grants and connect again."
        )
    if found.left > len(found.unopened):
        rest = found.left - len(found.unopened)
        lines.append(f"Of {rest:,} others servers wrote new tokens with a former version: run this again.")
    if not found.left:
        lines.append(
            f"All are sealed with it. Servers use the former version for up to {seconds} s after there is a new one: "
            "run this again after that time, and then disable the former versions."
        )
    err.print(plain("\n".join(lines), lines=True), markup=False, highlight=False, soft_wrap=True)
