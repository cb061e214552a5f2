"""`postern link`: signed URLs of a workflow. The server signs them, so that no key leaves the Key Vault."""

import asyncio
import re
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from postern.cli.api_client import As, Json, TokenFile, connected_api, token_source
from postern.cli.terminal import err, out, plain, print_json, print_wide, stop
from postern.cli.time_arguments import to_the_second
from postern.cli.workspace import Workspace, workspace

_SPAN = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT.+(Z|[+-]\d\d:\d\d)$", re.ASCII | re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
COLUMNS = ("id", "state", "key", "path", "fixed", "expires", "uses", "last use", "made by")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(link)


def link(
    workflow: Annotated[str, typer.Argument(metavar="NAME", help="The workflow, which has anonymous(signed=True).")],
    key: Annotated[str | None, typer.Option(metavar="KEY", help="primary (the default) or secondary.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="As 12h or 30d (the default), or 2026-12-31T00:00:00Z.")
    ] = None,
    link_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Names the link in records. Default: a random one.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="PATH", help="The only relative path that the link is for. Default: any.")
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="A query parameter that the sender cannot change."),
    ] = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="The link does not expire.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the links of NAME instead.")] = False,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="Revoke the link of this id instead.")] = None,
    who: As = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Make a signed URL of a workflow, and print it. With --list or --revoke: the links that there are. For operators.

    Anyone who has the URL can call the workflow until the URL expires or is revoked. It is shown once: no list has it.
    """
    here = workspace()
    base = f"/workflows/{quote(workflow, safe='')}/signed-urls"
    wish = {
        "key": key,
        **_expiry(expires),
        "id": link_id,
        "path": path,
        "with": _pairs(fixed or []) or None,
        "no_expiry": no_expiry or None,
    }
    wish = {name: value for name, value in wish.items() if value is not None}
    if listed or revoke is not None:
        if wish or (listed and revoke is not None):
            stop("--list and --revoke stand alone: leave out the other options.", 2)
        if listed:
            _print_list(asyncio.run(_all(here, who, token_file, base)), workflow, as_json=as_json)
            return
        gone = asyncio.run(_request(here, who, token_file, "DELETE", f"{base}/{quote(revoke or '', safe='')}"))
        if as_json:
            print_json(gone)
        else:
            err.print(plain(f"The link {gone.get('id')} is revoked."), markup=False, highlight=False)
        return
    made = asyncio.run(_request(here, who, token_file, "POST", base, body=wish))
    if as_json:
        print_json(made)
        return
    out.print(plain(str(made.get("url"))), markup=False, highlight=False, soft_wrap=True)
    until = f"until {made['expires_at']}" if made.get("expires_at") else "without an expiry"
    line = f"The link {made.get('id')}, {until}. It is a credential, and is shown this once."
    err.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def _expiry(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if span := _SPAN.fullmatch(text):
        return {"expires_in": int(span[1]) * _SECONDS[span[2]]}
    if _TIME.match(text) is None:
        stop(f"--expires {text}: not a valid time. Write it like 12h or 30d, or 2026-12-31T00:00:00Z.", 2)
    return {"expires_at": text}


def _pairs(fixed: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in fixed:
        name, equals, value = each.partition("=")
        if not equals or not name or name in found:
            stop(f"--with {name}: write NAME=VALUE, each name once.", 2)
        found[name] = value
    return found


def _print_list(rows: list[dict[str, Any]], workflow: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"signed_urls": rows})
        return
    if not rows:
        err.print(f"{workflow} has no signed URLs.", markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        by = row.get("made_by") or {}
        cells = (
            row.get("id"),
            row.get("state"),
            row.get("key"),
            "any" if row.get("path") is None else row["path"],
            " ".join(row.get("with") or ()),
            to_the_second(row.get("expires_at")) or "never",
            row.get("uses"),
            to_the_second(row.get("used_at")) or "never",
            by.get("name") or by.get("object_id") or "",
        )
        table.add_row(*(plain(str(cell)) for cell in cells))
    print_wide(table)


async def _all(here: Workspace, who: str | None, token_file: str | None, path: str) -> list[dict[str, Any]]:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await api.get(path, {"cursor": cursor})
            rows += page.get("signed_urls") or []
            following = page.get("next")
            if not following or following == cursor:
                return rows
            cursor = following


async def _request(
    here: Workspace, who: str | None, token_file: str | None, method: str, path: str, **more: Any
) -> dict[str, Any]:
    async with connected_api(here, token_source(here, who, token_file)) as api:
        return (await api.request(method, path, **more))[1]
