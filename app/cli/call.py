"""`postern call`: use a trigger from the command line."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.console import err, fail, out, program
from app.cli.installation import Installation, installation
from app.http_client import HTTPError, Response, http_client


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(call)


def call(
    trigger: Annotated[str, typer.Argument(metavar="NAME", help="hello, or with a relative path: book/orders/42.")],
    who: Annotated[
        str | None, typer.Option("--as", help="As this person or application of the local tenant.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="The body as JSON; @FILE reads a file, - standard input.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-X", help="The workflow's first method otherwise.")] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", help="A file that holds an access token; - is standard input.")
    ] = None,
) -> None:
    """Call a workflow's trigger. The reply's body goes to standard output, its status to standard error; exit code 0
    for a 2xx, 1 for any other."""
    here = installation()
    if who is not None and token_file is not None:
        fail("--as and --token-file both say who is asking: give one of them.")
        raise typer.Exit(2)
    headers = {}
    token = _token(here, who, token_file)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = _content(data)
    if content is not None:
        headers["Content-Type"] = "application/json"
    url = f"{here.server_url}/triggers/{trigger}"
    try:
        response = asyncio.run(_send(here, method or _method(here, trigger), url, headers, content))
    except HTTPError as error:
        fail(f"{url} cannot be reached: {type(error).__name__}. Does the server run? Start it with `{program()} dev`.")
        raise typer.Exit(1) from None
    _show(response)
    raise typer.Exit(0 if response.is_success else 1)


async def _send(here: Installation, method: str, url: str, headers: dict[str, str], content: bytes | None) -> Response:
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
    """The body indented; "" where it is no JSON, whatever its type says."""
    if "json" not in response.headers.get("content-type", ""):
        return ""
    try:
        return json.dumps(response.json(), indent=2, ensure_ascii=not sys.stdout.isatty())
    except (ValueError, RecursionError):
        return ""


def _token(here: Installation, who: str | None, token_file: str | None) -> str | None:
    if token_file is not None:
        content = sys.stdin.buffer.read() if token_file == "-" else _file("--token-file", token_file)  # noqa: S105
        if not content.strip().isascii() or len(content.split()) != 1:
            fail(f"--token-file {token_file} holds no access token: one line of letters, digits and dots.")
            raise typer.Exit(2)
        return content.decode("ascii").strip()
    if who is None:
        return None
    if here.local is None:
        fail("--as names people of the local tenant, but POSTERN_TENANT_ID names a real one: use --token-file.")
        raise typer.Exit(2)
    try:
        return here.local.token(who)
    except LookupError as unknown:
        fail(str(unknown.args[0]))
        raise typer.Exit(2) from None


def _content(data: str | None) -> bytes | None:
    if data is None:
        return None
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return _file("--data", data[1:])
    return data.encode()


def _file(option: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        fail(f"{option} {name}: {error.strerror}.")
        raise typer.Exit(2) from None


def _method(here: Installation, trigger: str) -> str:
    found = here.load().triggers.get(trigger.partition("/")[0])
    return found.workflow.methods[0] if found else "POST"
