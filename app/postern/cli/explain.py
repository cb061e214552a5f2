"""`postern explain`: why a token is accepted or rejected, check by check."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from postern.access import GUID, Check, Guarded, Signed
from postern.catalog import Snapshot, Trigger
from postern.cli.api_client import AsOperator, TokenFile
from postern.cli.checks_table import checks_table
from postern.cli.open_database import opened
from postern.cli.refusals import explain_refusal
from postern.cli.terminal import err, fail, out, plain, stop
from postern.cli.workspace import Workspace, workspace
from postern.errors import DatabaseFault
from postern.identity.explained import Explained, advice_of, explained, given_token, scopes_to_request
from postern.journal.database.engine import file_of
from postern.journal.revocations import Rule, rules
from postern.networks import in_networks
from postern.security.revocation.revocations import Revocations

_ANYONE = "is anonymous: anyone may call it, and tokens are ignored"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN|REQUEST_ID",
            help="The access token (- reads it from standard input), or the request_id of a rejected request.",
        ),
    ],
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="NAME", help="Workflow to check the token against.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="A file with the tenant's signing keys (JWKS). Default: fetch them from the tenant.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="The client's address, to check networks too.")
    ] = None,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Show every check of a token for a workflow, in order, with the expected and the found value.

    Nothing is stored. Exit code 0 if the caller would be admitted, 1 if not, and 2 if that is unknown because the
    tenant's signing keys are not available.

    With the request_id of a response, show the checks that the server recorded. This is for operators: sign in with
    --as or --token-file. Exit code 1, or 3 if there is no such record.
    """
    here = workspace()
    if GUID.fullmatch(token.strip().lower()):
        explain_refusal(here, token.strip().lower(), who, token_file)
        return
    if who is not None or token_file is not None:
        stop("--as and --token-file are for a request id. Give the token to explain as the argument, or -.", 2)
    if workflow is None:
        stop("--workflow is required: the workflow to check the token against.", 2)
    snapshot = here.load()
    trigger = _trigger(snapshot, workflow)
    if address is not None:
        _check_networks(here, trigger, address)
    if not isinstance(trigger.policy, Guarded):
        signed = isinstance(trigger.policy, Signed)
        how = "takes requests that are signed: tokens do not open it" if signed else _ANYONE
        out.print(f"{workflow} {how}.", highlight=False)
        return
    text = given_token(sys.stdin.read() if token == "-" else token)  # noqa: S105 a dash is no password
    result = asyncio.run(_explained(here, snapshot, trigger.policy, text, keys))
    out.print(checks_table(result.checks, result.failed))
    if result.keys_error:
        cause = f"the keys in {keys} cannot be used" if keys else "the tenant's signing keys are not available"
        hint = "Give another file with --keys." if keys else "Try again, or give the keys in a file with --keys."
        fail(f"{cause}, so the token cannot be checked; a server would answer 503 ({result.keys_error}). {hint}")
        raise typer.Exit(2)
    _verdict(workflow, result.failed, trigger.policy)
    raise typer.Exit(1 if result.failed else 0)


def _trigger(snapshot: Snapshot, name: str) -> Trigger:
    found = snapshot.triggers.get(name)
    if found is None:
        fail(f"there is no workflow {name!r}: choose one of {', '.join(sorted(snapshot.triggers)) or '(none)'}.")
        raise typer.Exit(2)
    return found


def _check_networks(here: Workspace, trigger: Trigger, address: str) -> None:
    """Show whether requests may come from this address. Leaves with 1 if they may not: no token helps then."""
    from postern.triggers.client_network import checks_of

    if address != "unknown" and not in_networks(address, ("0.0.0.0/0", "::/0")):  # unknown: of a Unix socket
        stop(f"--from {plain(address)}: not an address. Write it like 192.0.2.7 or 2001:db8::7.", 2)
    checks = checks_of(address, here.settings.allowed_networks, trigger.workflow.networks)
    failed = next((check for check in checks if not check.passed), None)
    if checks:
        out.print(checks_table(checks, failed))
    if failed is not None:
        fix = "Add the address to POSTERN_ALLOWED_NETWORKS and to networks= of the workflow, where they are set."
        fail(f"{trigger.workflow.name} rejects requests from {plain(address)} with 401. {fix}")
        raise typer.Exit(1)


async def _explained(here: Workspace, snapshot: Snapshot, policy: Guarded, token: str, keys: Path | None) -> Explained:
    from postern.assembly import create_identity, mcp_scope, tenants
    from postern.http_client import http_client
    from postern.identity import fetch_keys

    given = _given_keys(here, keys)

    async def from_file() -> bytes:
        return given

    revocations = _revocations(here.settings.database_url)
    async with http_client(here.settings.ca_bundle, proxy=here.settings.way_out) as client:
        identity = create_identity(
            here.settings, lambda of: from_file if given else partial(fetch_keys, client, of), revocations
        )
        identity.serve(tenants(here.settings, snapshot))
        return await explained(identity, token, policy, mcp_scope=mcp_scope(here.settings))


def _revocations(url: str) -> Revocations | None:
    """The revocations in the database of the settings; None if it cannot be read, which is said."""
    found: list[Rule] = []
    path = file_of(url)
    try:
        if path is None or path.exists():
            with opened(url) as engine, engine.connect() as connection:
                found = rules(connection, time())
    except (DatabaseFault, DBAPIError, OSError) as error:
        cause = type(error).__name__
        text = f"Revocations are not checked: the database of POSTERN_DATABASE_URL cannot be read ({cause})."
        err.print(text, markup=False, highlight=False, soft_wrap=True)
        return None
    known = Revocations()
    known.apply(found, monotonic())
    return known


def _given_keys(here: Workspace, keys: Path | None) -> bytes:
    """The keys of the file, or of the local tenant, which need not be running; else none."""
    if keys:
        return keys.read_bytes() or b"{}"
    return json.dumps(here.local.jwks()).encode() if here.local else b""


def _verdict(workflow: str, failed: Check | None, policy: Guarded) -> None:
    if failed is None:
        err.print(f"[green]{workflow} admits this caller.[/]", highlight=False)
        return
    err.print(
        f"[bold red]{workflow} rejects it with 401[/]: the check {failed.name!r} is the first that fails.",
        highlight=False,
    )
    if advice := advice_of(failed):
        err.print(plain(advice) + ".", markup=False, highlight=False, soft_wrap=True)
    for scope in scopes_to_request(policy):
        err.print(f"scope to request: {scope}", markup=False, highlight=False, soft_wrap=True)
