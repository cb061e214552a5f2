"""`postern explain`: why a token is let in or refused, check by check."""

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from postern.access import GUID, Check, Guarded, Policy, checks, default_scope
from postern.catalog import Snapshot
from postern.cli.api_client import AsOperator, TokenFile
from postern.cli.refusals import explain_refusal
from postern.cli.terminal import checks_table, err, fail, out, stop
from postern.cli.workspace import Workspace, workspace


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    token: Annotated[
        str,
        typer.Argument(
            metavar="TOKEN|REQUEST_ID",
            help="The access token, - reads it from standard input; or the id of a request that was refused.",
        ),
    ],
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="NAME", help="The door to try a token at.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="A file with the tenant's signing keys (JWKS), in place of asking the tenant.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Show every check of a token at a workflow's door, in order, with what was expected and what was found.

    Nothing is stored. Exit code 0 when the caller would come in, 1 when not, 2 when nobody can tell because the
    tenant's signing keys cannot be had.

    With the request_id of an answer: show the checks that the server made, from its records (for operators: --as and
    --token-file say who is asking). Exit code 1, and 3 when no such refusal is on record.
    """
    here = workspace()
    if GUID.fullmatch(token.strip().lower()):
        explain_refusal(here, token.strip().lower(), who, token_file)
        return
    if who is not None or token_file is not None:
        stop("--as and --token-file say who asks about a request id; a token to explain is given by itself, or -.", 2)
    if workflow is None:
        stop("say with --workflow at which door to try the token.", 2)
    snapshot = here.load()
    trigger = snapshot.triggers.get(workflow)
    if trigger is None:
        fail(f"there is no workflow {workflow!r}: choose one of {', '.join(sorted(snapshot.triggers)) or '(none)'}.")
        raise typer.Exit(2)
    if not isinstance(trigger.policy, Guarded):
        out.print(f"{workflow} is anonymous: anyone may come in, and a token is not looked at.", highlight=False)
        return
    text = (sys.stdin.read() if token == "-" else token).strip()  # noqa: S105 a dash is no password
    if text[:7].lower() == "bearer ":
        text = text[7:].strip()
    answers, no_keys = asyncio.run(_checks(here, snapshot, trigger.policy, text, keys))
    failed = next((check for check in answers if not check.passed), None)
    out.print(checks_table(answers, failed))
    if no_keys and failed and failed.name == "key-published":
        place = f"the keys in {keys} cannot be used" if keys else "the tenant's signing keys cannot be had"
        hint = "Give another file with --keys." if keys else "Try again, or give the keys in a file with --keys."
        fail(f"{place}, so nobody can tell; a server would answer 503 ({no_keys}). {hint}")
        raise typer.Exit(2)
    _verdict(workflow, failed, trigger.policy)
    raise typer.Exit(1 if failed else 0)


async def _checks(
    here: Workspace, snapshot: Snapshot, policy: Policy, token: str, keys: Path | None
) -> tuple[list[Check], str]:
    """The checks of identity, then those of the door; and why signing keys could not be had, "" where they could."""
    from postern.assembly import create_identity, tenants
    from postern.http_client import http_client
    from postern.identity import fetch_keys

    given = _given_keys(here, keys)

    async def from_file() -> bytes:
        return given

    async with http_client(here.settings.ca_bundle) as client:
        identity = create_identity(here.settings, lambda of: from_file if given else partial(fetch_keys, client, of))
        identity.serve(tenants(here.settings, snapshot))
        asked, caller = await identity.examine(token)
    return asked + (checks(policy, caller) if caller else []), "; ".join(identity.errors.values())


def _given_keys(here: Workspace, keys: Path | None) -> bytes:
    """The keys of the file, or of the local tenant, which need not run for that; else none."""
    if keys:
        return keys.read_bytes() or b"{}"
    return json.dumps(here.local.jwks()).encode() if here.local else b""


def _verdict(workflow: str, failed: Check | None, policy: Guarded) -> None:
    if failed is None:
        err.print(f"[green]{workflow} lets this caller in.[/]", highlight=False)
        return
    err.print(
        f"[bold red]{workflow} refuses it with 401[/]: the check {failed.name!r} is the first that fails.",
        highlight=False,
    )
    if failed.advice:
        err.print(failed.advice, markup=False, highlight=False, soft_wrap=True)
    for audience in sorted(policy.audiences):
        err.print(f"scope to ask for: {default_scope(audience)}", markup=False, highlight=False, soft_wrap=True)
