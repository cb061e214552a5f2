"""`postern revoke`: end the access of a person, an application or a token, list that, and take it back."""

import asyncio
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from postern.access import GUID
from postern.cli.api_client import (
    AsOperator,
    Json,
    Limit,
    Listing,
    Record,
    TokenFile,
    connected_api,
    say_more,
    token_source,
)
from postern.cli.terminal import err, out, plain, print_json, print_wide, program, stop
from postern.cli.time_arguments import seconds_of, to_the_second
from postern.cli.workspace import Workspace, workspace


class EndByDefault(TyperGroup):
    """`postern revoke`, alone the list, and with a person or an option of `end`, that."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the subcommand that was left out."""
        if not args:
            args = ["list"]
        elif args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["end", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=EndByDefault,
    help=(
        "End the access of a person, an application or a token: PERSON, CLIENT or --token UTI; list, lift ID. Without "
        "arguments, same as list.\n\nOptions such as --for 8h: `postern revoke end --help`."
    ),
    no_args_is_help=False,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="revoke")


@commands.command()
def end(
    who_or_what: Annotated[
        str | None,
        typer.Argument(
            metavar="PERSON|CLIENT",
            help="A name in the table people, an object id, or the client id of an application.",
        ),
    ] = None,
    token_id: Annotated[
        str | None, typer.Option("--token", metavar="UTI", help="Revoke one token, by its id (uti).")
    ] = None,
    bar: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Refuse new tokens too for this time, such as 8h or 2d.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the list and the audit log.")] = "",
    as_client: Annotated[bool, typer.Option("--client", help="The id is a client id.")] = False,
    as_person: Annotated[
        bool, typer.Option("--person", help="The id is an object id, of a person or a service principal.")
    ] = False,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The tenant of the person. Default: the one that the server knows of the id."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also your own access, or that of the last operator of POSTERN_OPERATORS.")
    ] = False,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """End the access of a person, an application or a token. For operators.

    All server processes refuse the tokens that were issued before, within a second. Console sessions and open links of
    a person end, and the person's grants are not used until the person connects again.
    """
    here = workspace()
    body: dict[str, Any] = _subject(here, who_or_what, token_id, as_client=as_client, as_person=as_person)
    more = {"for_seconds": seconds_of("--for", bar), "reason": reason, "tenant_id": tenant, "confirm": yes or None}
    body |= {name: value for name, value in more.items() if value}
    made = asyncio.run(_request(here, who, token_file, "POST", "/revocations", body))
    if as_json:
        print_json(made)
        return
    out.print(plain(made.get("id")), markup=False, highlight=False)
    for text in _said(made):
        err.print(plain(text), markup=False, highlight=False, soft_wrap=True)


@commands.command(name="list")
def list_revocations(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were taken back or have no effect.")
    ] = False,
    limit: Limit = 50,
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """List the revocations that are in effect, newest first."""
    asyncio.run(_list(workspace(), who, token_file, limit, everything=everything, as_json=as_json))


@commands.command()
def lift(
    revocation_id: Annotated[str, typer.Argument(metavar="ID", help="The revocation's id, as in the list.")],
    as_json: Json = False,
    who: AsOperator = None,
    token_file: TokenFile = None,
) -> None:
    """Take a revocation back. Tokens that have not expired are accepted again; sessions and links stay ended."""
    found = revocation_id.strip().lower()
    if not GUID.fullmatch(found):
        stop(f"{revocation_id!r} is not the id of a revocation: `{program()} revoke list` shows them.", 2)
    path = f"/revocations/{found}"
    lifted = asyncio.run(_request(workspace(), who, token_file, "DELETE", path))
    if as_json:
        print_json(lifted)
    else:
        err.print(f"Taken back: {_named(lifted)} has access again.", markup=False, highlight=False, soft_wrap=True)


def _subject(
    here: Workspace, given: str | None, token_id: str | None, *, as_client: bool, as_person: bool
) -> dict[str, Any]:
    """What is revoked, as the API takes it. Exits with 2 if it is not clear."""
    if (given is None) == (token_id is None):
        stop(
            f"give a person, a client id, or --token UTI: one of them. `{program()} revoke list` lists revocations.", 2
        )
    if token_id is not None:
        return {"subject": token_id, "kind": "token"}
    if as_client and as_person:
        stop("--client and --person: an id is one of them.", 2)
    people = here.settings.people
    named = given in people
    if named and as_client:
        stop(f"{given}: the table people has object ids. With --client, give the client id of the application.", 2)
    found = people.get(str(given), str(given)).lower()
    if not GUID.fullmatch(found):
        known = f"It has {', '.join(people)}." if people else "It is empty."
        stop(f"{given}: neither an id nor a name in the table people. {known}", 2)
    kind = "client" if as_client else "caller" if as_person or named else None
    return {"subject": found} | ({"kind": kind} if kind else {})


def _said(made: Record) -> list[str]:
    """What an operator has to know of a revocation that was made."""
    who = _named(made)
    lines = [f"The access of {who} has ended."]
    if made.get("kind") == "token":
        lines.append("A new token is accepted.")
    elif made.get("bars_until"):
        lines.append(f"New tokens are refused too, until {made['bars_until']}.")
    else:
        again = made.get("accepted_again_at")
        lines.append(f"New tokens are accepted from {again} on: Entra dates tokens 5 minutes back.")
    runs = made.get("runs_in_progress") or []
    if runs:
        more = " These are some of them." if made.get("more_runs") else ""
        lines.append(f"Runs in progress go on.{more} To cancel them:")
        lines += [f"  {program()} runs cancel {run}" for run in runs]
    shared = made.get("shared_connections") or []
    if shared:
        lines.append("Shared connections that this person connected are still used. To end them:")
        lines += [f"  {program()} connections disconnect {name}" for name in shared]
    urls = made.get("signed_urls") or []
    if urls:
        more = " These are some of them." if made.get("more_signed_urls") else ""
        lines.append(f"Signed URLs that were made with this access still work.{more} To revoke them:")
        lines += [f"  {program()} link {url.get('workflow')} --revoke {url.get('id')}" for url in urls]
    return [*lines, f"To take it back: {program()} revoke lift {made.get('id')}"]


def _named(revocation: Record) -> str:
    kinds = {"caller": "caller", "client": "application", "token": "token"}
    name = f"{revocation['name']}, " if revocation.get("name") else ""
    return f"{name}{kinds.get(str(revocation.get('kind')), '')} {revocation.get('subject')}"


async def _list(
    here: Workspace, who: str | None, token_file: str | None, limit: int, *, everything: bool, as_json: bool
) -> None:
    found: list[Record] = []
    async with connected_api(here, token_source(here, who, token_file)) as api:
        listing = Listing(api, "revocations", {"all": "true" if everything else None}, limit)
        async for page in listing:
            found += page
    if as_json:
        print_json({"revocations": found, "next": listing.next})
        return
    if not found:
        err.print("No revocations." if everything else "No revocation is in effect.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "made", "of", "until", "state", "by", "reason"):
        table.add_column(column, no_wrap=column in ("id", "made"), overflow="fold")
    for each in found:
        table.add_row(*(Text(plain(cell)) for cell in _cells(each)))
    print_wide(table)
    if listing.next:
        say_more(limit)


def _cells(revocation: Record) -> tuple[str, ...]:
    by = revocation.get("made_by") or {}
    state = "lifted" if revocation.get("lifted_at") else "in effect" if revocation.get("in_effect") else "over"
    return (
        str(revocation.get("id")),
        to_the_second(revocation.get("made_at")),
        _named(revocation),
        to_the_second(revocation.get("bars_until")),
        state,
        str(by.get("name") or by.get("object_id") or ""),
        str(revocation.get("reason") or ""),
    )


async def _request(
    here: Workspace, who: str | None, token_file: str | None, method: str, path: str, body: Record | None = None
) -> Record:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request(method, path, body=body))[1]
