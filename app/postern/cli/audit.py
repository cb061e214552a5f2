"""`postern audit`: the audit log, listed, verified and exported, and the public key that checks it."""

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import (
    AsOperator,
    Json,
    Limit,
    Record,
    Since,
    TokenFile,
    Until,
    records_of,
    say_more,
)
from postern.cli.audit_files import export, verify
from postern.cli.runs import ListByDefault
from postern.cli.terminal import err, plain, print_json, print_wide, program, stop
from postern.cli.time_arguments import to_the_second, window
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.connections.faults import ConnectionFault
from postern.journal.audit_event import Kind
from postern.security.audit.signing_key import SETTING, KeyFault, VaultKey

OF_CALLER = frozenset({"caller_kind", "object_id", "tenant_id", "client_id", "name"})
LONGEST = 160
"""Characters of an event's fields in a line."""

commands = typer.Typer(
    cls=ListByDefault,
    help="The audit log: list, verify, export FILE, key. Without a subcommand, same as list.",
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    commands.command()(verify)
    commands.command()(export)
    app.add_typer(commands, name="audit")


@commands.command(name="list")
def list_events(
    kind: Annotated[
        Kind | None, typer.Option(case_sensitive=False, metavar="KIND", help=f"Only this kind: {', '.join(Kind)}.")
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(
            "--who", metavar="WHO", help="Only this object id or name in the table people, or this text anywhere."
        ),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="NAME", help="Only this workflow.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the events of the audit log, for operators. An event is listed within a second or two; admissions and
    rejected requests are counted for a minute first."""
    here = workspace()
    query = {
        "kind": kind.value if kind else None,
        "who": here.object_id(about),
        "workflow": workflow,
        **window(since, until),
    }
    found, more = asyncio.run(records_of(here, who, token_file, "audit", query, limit, time="at", member="events"))
    if as_json:
        print_json({"events": found, "next": more})
        return
    if not found:
        err.print("No matching events.")
        return
    print_wide(_table(found))
    if more:
        say_more(limit)


@commands.command()
def key() -> None:
    """Print the public key that checks the signatures of checkpoints, in PEM, from the private key in Key Vault
    (POSTERN_AUDIT_KEY_NAME). Give it to who verifies the audit log, and keep it after the key was replaced."""
    here = workspace()
    if not here.settings.audit_key_name:
        stop(f"{SETTING} is not set: checkpoints of the audit log are not signed.", 2)
    try:
        typer.echo(asyncio.run(_public_key(here, here.settings.audit_key_name)), nl=False)
    except ConnectionFault as fault:
        hint = f" The local tenant's Key Vault runs only with `{program()} dev`." if here.local else ""
        stop(f"{plain(str(fault))}{hint}")
    except KeyFault as fault:
        stop(f"{plain(str(fault))}.")


async def _public_key(here: Workspace, name: str) -> str:
    from postern.connections.vault.vault import vault_of
    from postern.identity import CLOUDS

    if here.local:
        export_local_credential(here.local)
    settings = here.settings
    vault = vault_of(settings, settings.authority or CLOUDS[settings.cloud].authority)
    try:
        return (await VaultKey(name, vault.secret)()).public_pem
    finally:
        await vault.aclose()


def _table(found: list[Record]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("event", no_wrap=True)
    for column in ("who", "workflow", "details"):
        table.add_column(column, overflow="fold")
    for record in found:
        fields = record.get("fields")
        known: dict[str, Any] = fields if isinstance(fields, dict) else {}
        who = next(
            (known[each] for each in ("name", "object_id", "client_id") if known.get(each)), record.get("subject")
        )
        texts = (to_the_second(record.get("at")), record.get("kind"), who, record.get("workflow"), _details(known))
        table.add_row(*(Text("" if each is None else plain(each)) for each in texts))
    return table


def _details(fields: dict[str, Any]) -> str:
    """The other fields, in one line."""
    shown = [f"{name}={_value(value)}" for name, value in fields.items() if name not in OF_CALLER | {"workflow"}]
    text = " ".join(shown)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
