"""`postern doctor`: checks what an installation needs, and says what to do."""

import asyncio
from collections.abc import Mapping
from functools import partial

import typer
from rich.markup import escape
from rich.text import Text

from postern.catalog import Snapshot
from postern.cli.api_client import Json
from postern.cli.diagnosis import database, entra, here, public_url, vault
from postern.cli.diagnosis.finding import Check, Finding, run_checks
from postern.cli.serving import FolderFault
from postern.cli.terminal import err, out, plain, print_json
from postern.cli.workspace import Workspace, export_local_credential, workspace
from postern.errors import UserFault
from postern.settings import SettingsFault
from postern.settings.audit import check_audit
from postern.settings.console import missing_for_console
from postern.settings.grants import check_grants
from postern.settings.sealing import check_durable_key

MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED ", "bold red")}
WIDTH = 13


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Check settings, workflows, tenant, signing keys, clock, vault, database, TLS, proxy headers and the public URL,
    and say what to do. Exit code 1 if a check failed.

    Run it on the server's machine, as the server's user. Nothing is changed, and no secret is shown.
    """
    found: dict[str, list[Finding]] = {}
    try:
        installation = workspace()
        if not installation.local:
            check_grants(installation.settings)
        check_audit(installation.settings)
        check_durable_key(installation.settings)
    except SettingsFault as fault:
        found["settings"] = here.fault_findings(fault)
        _conclude(found, as_json=as_json)
    snapshot = _load(installation, found)
    checks = checks_of(installation, snapshot)
    with err.status("Checking …") as status:

        def progress(done: int) -> None:
            status.update(f"Checking … {done} of {len(checks)}")

        found |= asyncio.run(run_checks(checks, progress))
    _conclude(found, as_json=as_json)


def checks_of(installation: Workspace, snapshot: Snapshot | None) -> Mapping[str, Check]:
    """The checks that take time, by name."""
    from postern.assembly.installation import authority

    settings, local = installation.settings, installation.local is not None
    if installation.local is not None:
        export_local_credential(installation.local)
    at = authority(settings)
    url = installation.server_url if local else settings.public_url
    return {
        "tenant": partial(entra.check_tenant, settings, local=local),
        "signing keys": partial(entra.check_keys, settings, local=local),
        "clock": partial(entra.check_clock, settings, local=local),
        "vault": partial(vault.check_secrets, settings, at, snapshot, local=local),
        "grants key": partial(vault.check_grants_key, settings, at),
        "durable key": partial(vault.check_durable_key, settings, at),
        "audit key": partial(vault.check_audit_key, settings, at),
        "database": partial(database.check_database, settings),
        "server": here.check_server,
        "certificate": partial(public_url.check_certificate, settings, url),
        "public URL": partial(public_url.check_public_url, settings, url),
    }


def _load(installation: Workspace, found: dict[str, list[Finding]]) -> Snapshot | None:
    """The workflows, None if they cannot be loaded. What is wrong is added to `found`."""
    settings, snapshot = installation.settings, None
    try:
        snapshot = installation.load()
        workflows = here.workflow_findings(snapshot)
    except SettingsFault as fault:
        workflows = here.fault_findings(fault)
    except (FolderFault, UserFault) as fault:
        workflows = [Finding("failed", str(fault), "Set POSTERN_WORKFLOWS to a folder that this user can read")]
    missing = missing_for_console(settings, installation.server_url if installation.local else "")
    found["settings"] = here.settings_findings(settings, missing, snapshot)
    found["workflows"] = workflows
    return snapshot


def _conclude(found: Mapping[str, list[Finding]], *, as_json: bool) -> None:
    """Print what was found, and end the command."""
    every = [(name, each) for name, findings in found.items() for each in findings]
    broken = sum(each.state == "failed" for _, each in every)
    if as_json:
        rows = [{"check": n, "state": each.state, "detail": each.detail, "fix": each.fix} for n, each in every]
        print_json({"ok": not broken, "checks": rows})
        raise typer.Exit(1 if broken else 0)
    for name, each in every:
        mark, colour = MARKS[each.state]
        out.print(
            Text.assemble((mark, colour), "  ", name.ljust(WIDTH), plain(each.detail)), highlight=False, soft_wrap=True
        )
        if each.fix:
            out.print(f"         [green]fix:[/] {escape(plain(each.fix))}.", highlight=False, soft_wrap=True)
    warned = sum(each.state == "warning" for _, each in every)
    colour, word = ("bold red", "failed") if broken else ("green", "failed")
    err.print(f"[{colour}]{broken} {word}[/], {warned} warning{'' if warned == 1 else 's'}.", highlight=False)
    raise typer.Exit(1 if broken else 0)
