"""`postern call`: call a trigger from the command line."""

import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from postern.cli.api_client import As, TokenFile, check_secrecy, given_token, read_file, unreachable
from postern.cli.terminal import err, out, stop
from postern.cli.workspace import Workspace, workspace
from postern.http_client import HTTPError, Response, http_client


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(call)


def call(
    trigger: Annotated[
        str, typer.Argument(metavar="NAME", help="The workflow, as hello; with a relative path, as book/orders/42.")
    ],
    who: As = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The body as JSON. @FILE reads a file, - standard input.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-X", help="The HTTP method. Default: the workflow's first.")
    ] = None,
    token_file: TokenFile = None,
) -> None:
    """Call a workflow's trigger. The reply's body is printed to standard output, its status to standard error. The exit
    code is 0 for a 2xx, 1 for any other status."""
    here = workspace()
    headers = {}
    token = given_token(here, who, token_file)
    if token:
        check_secrecy(here.server_url)
        headers["Authorization"] = f"Bearer {token}"
    content = _content(data)
    if content is not None:
        headers["Content-Type"] = "application/json"
    url = f"{here.server_url}/triggers/{trigger}"
    try:
        response = asyncio.run(_send(here, method or _method(here, trigger), url, headers, content))
    except HTTPError as error:
        stop(unreachable(url, error))
    _show(response)
    raise typer.Exit(0 if response.is_success else 1)


async def _send(here: Workspace, method: str, url: str, headers: dict[str, str], content: bytes | None) -> Response:
    async with http_client(here.settings.ca_bundle, timeout=130.0) as client:
        return await client.request(method, url, headers=headers, content=content)


def _show(response: Response) -> None:
    run_id = response.headers.get("x-run-id")
    colour = "green" if response.is_success else "red"
    line = f"[{colour}]{response.status_code} {escape(response.reason_phrase)}[/]"
    err.print(line + (f"  run {escape(run_id)}" if run_id else ""), highlight=False)
    challenge = response.headers.get("www-authenticate")
    if challenge:
        err.print(f"WWW-Authenticate: {challenge}", markup=False, highlight=False, soft_wrap=True)
    text = _json_text(response)
    if text:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        sys.stdout.buffer.write(response.content)


def _json_text(response: Response) -> str:
    """The body indented; "" if it is not JSON, even if its type says so."""
    if "json" not in response.headers.get("content-type", ""):
        return ""
    try:
        return json.dumps(response.json(), indent=2, ensure_ascii=not sys.stdout.isatty())
    except (ValueError, RecursionError):
        return ""


def _content(data: str | None) -> bytes | None:
    if data is None:
        return None
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return read_file("--data", data[1:])
    return data.encode()


def _method(here: Workspace, trigger: str) -> str:
    found = here.load().triggers.get(trigger.partition("/")[0])
    return found.workflow.methods[0] if found else "POST"
