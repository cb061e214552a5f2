"""`postern secrets`: the secrets named in the settings, with expiry date, users, and whether they can be read."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from postern.access import Signed
from postern.cli.api_client import Json
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, plain, print_json, print_wide, program, stop
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.connections.vault.expiry import THRESHOLDS, days_left, read_state
from postern.connections.vault.secret import SecretState
from postern.errors import UserFault
from postern.settings.references import secret_references

AT_ONCE = 4
"""Secrets that are read at the same time."""


commands = typer.Typer(
    cls=ListByDefault,
    help="The secrets named in the settings: list, set NAME. Without a subcommand, same as list.",
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="secrets")


@commands.command(name="set")
def set_secret(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The secret's name, as in { key_vault = NAME }.")],
) -> None:
    """Put a secret into the Key Vault of the local tenant, as a new version if the name exists.

    The value is read from standard input, or asked for on a terminal. It is no argument, because other users of the
    machine can read arguments, and shells remember them.
    """
    here = workspace()
    if here.local is None:
        vault = here.settings.key_vault_url or "https://VAULT"
        stop(
            "postern secrets set fills the local tenant's Key Vault, but POSTERN_TENANT_ID is set to a real one. "
            f"There: az keyvault secret set --id {vault}/secrets/{plain(name)} --file FILE",
            2,
        )
    value = typer.prompt("Value", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        stop("the value is empty: write it to standard input.", 2)
    try:
        here.local.put_secret(name, value)
    except ValueError as fault:
        stop(f"{fault}.", 2)
    seconds = here.settings.secret_max_age
    err.print(
        f"{name} is in the local tenant's Key Vault. A server that has read it uses the new value within {seconds} s.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@commands.command(name="list")
def secrets(as_json: Json = False) -> None:
    """List the secrets named in the settings and by signed_by=, with expiry date, users, and if Postern can read them.

    Values are never shown. Exit code 1 if one cannot be read."""
    here = workspace()
    references = {**secret_references(here.settings), **_of_senders(here)}
    with err.status("Reading the Key Vault …") as status:

        def progress(done: int) -> None:
            status.update(f"Reading the Key Vault … {done} of {len(references)}")

        found = asyncio.run(_read_all(here, references, progress)) if references else []
    now = time.time()
    if as_json:
        print_json({"secrets": [_record(each, now) for each in found]})
    elif found:
        print_wide(_table(found, now))
    else:
        err.print("The settings and the workflows name no secret.", highlight=False)
    unread = any(each.fault for each in found)
    if unread and here.local:
        err.print(f"The local tenant's Key Vault runs only with `{program()} dev`.", style="dim", highlight=False)
    raise typer.Exit(1 if unread else 0)


def _of_senders(here: Workspace) -> dict[str, tuple[str, ...]]:
    """The secrets of senders that workflows name, each with its workflows, which are added to those of the settings."""
    found: dict[str, tuple[str, ...]] = {}
    settings = secret_references(here.settings)
    try:
        triggers = here.load().triggers
    except UserFault:  # `postern check` says what is wrong with the folder
        return {}
    for name, trigger in sorted(triggers.items()):
        policy = trigger.policy
        for secret in policy.by.secrets if isinstance(policy, Signed) and policy.by is not None else ():
            found[secret] = (*found.get(secret, settings.get(secret, ())), f"workflow {name}")
    return found


async def _read_all(
    here: Workspace, references: dict[str, tuple[str, ...]], progress: Callable[[int], None]
) -> list[SecretState]:
    from postern.assembly.installation import authority
    from postern.connections.vault.vault import vault_of

    if here.local:
        export_local_credential(here.local)
    settings = here.settings
    vault = vault_of(settings, authority(settings))
    places = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(name: str, used_by: tuple[str, ...]) -> SecretState:
        nonlocal done
        async with places:
            found = await read_state(vault, name, used_by)
        done += 1
        progress(done)
        return found

    try:
        return list(await asyncio.gather(*(one(name, users) for name, users in references.items())))
    finally:
        await vault.aclose()


def _table(found: list[SecretState], now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("secret", no_wrap=True)
    table.add_column("expires", no_wrap=True)
    for column in ("used by", "state"):
        table.add_column(column, overflow="fold")
    for each in found:
        state = Text("readable", "green") if each.fault is None else Text(plain(each.fault), "bold red")
        table.add_row(each.name, _expires(each, now), Text("\n".join(each.used_by)), state)
    return table


def _expires(found: SecretState, now: float) -> Text:
    """The expiry day and the days until then, in the colour of its threshold."""
    if found.fault is not None:
        return Text("")
    if found.ends is None:
        return Text("no expiry date", "dim")
    days = days_left(found.ends, now)
    if found.ends <= now:
        return Text(f"{_day(found.ends)}, expired", "bold red")
    *wide, week, _ = THRESHOLDS
    colour = "red" if days < week else "yellow" if days < max(wide) else "green"
    how_far = "today" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"
    return Text(f"{_day(found.ends)}, {how_far}", colour)


def _record(found: SecretState, now: float) -> dict[str, Any]:
    fault = found.fault
    return {
        "name": found.name,
        "used_by": list(found.used_by),
        "readable": fault is None,
        "expires_on": None if found.ends is None else _moment(found.ends),
        "days": None if found.ends is None else days_left(found.ends, now),
        "fault": None if fault is None else {"entry": fault.entry, "wrong": fault.wrong, "fix": fault.fix},
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(seconds: float) -> str:
    return _moment(seconds)[:10]
