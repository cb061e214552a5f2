"""`postern call`: call a trigger from the command line."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

import typer

from postern.cli.api_client import (
    As,
    Data,
    TokenFile,
    check_secrecy,
    given_token,
    others_could_read,
    sent_data,
    unreachable,
)
from postern.cli.form_option import FormFields, HeaderFields, sent_form, sent_headers
from postern.cli.later_result import place_of, result_of
from postern.cli.terminal import err, escaped, out, plain, program, stop
from postern.cli.workspace import OPERATOR, Workspace, workspace
from postern.http_client import HTTPError, Response, http_client

SECONDS = 130.0
"""How long to wait for a reply: a little longer than the default timeout of workflows, or than this workflow's."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(call)


def call(
    trigger: Annotated[
        str, typer.Argument(metavar="NAME", help="The workflow, as hello; with a relative path, as book/orders/42.")
    ],
    who: As = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Send no token, as an anonymous caller.")] = False,
    data: Data = None,
    form: FormFields = None,
    header: HeaderFields = None,
    method: Annotated[
        str | None, typer.Option("--method", "-X", help="The HTTP method. Default: the workflow's first.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for the result of a durable run: print the 202.")
    ] = False,
    respond_async: Annotated[
        bool, typer.Option("--async", help="Send Prefer: respond-async, so that the run is durable.")
    ] = False,
    token_file: TokenFile = None,
) -> None:
    """Call a workflow's trigger. The reply's body is printed to standard output, its status to standard error. The
    result of a durable run is waited for. The exit code is 0 for a 2xx, 1 for any other status."""
    here = workspace()
    headers = sent_headers(header) | ({"Prefer": "respond-async"} if respond_async else {})
    parts = sent_form(form, data)
    if no_token and (who, token_file) != (None, None):
        stop("--no-token sends no token: leave out --as and --token-file.", 2)
    if here.local and not no_token and token_file is None and not others_could_read(here.server_url):
        who = who or OPERATOR
    token = given_token(here, who, token_file)
    if token:
        check_secrecy(here.server_url)
        headers["Authorization"] = f"Bearer {token}"
    content = sent_data(data)
    if content is not None:
        headers["Content-Type"] = "application/json"
    url = f"{here.server_url}/triggers/{trigger}"
    method, seconds = (method, SECONDS) if method else _method_and_time(here, trigger)
    later = _later(here, who, token, no_wait)
    try:
        response = asyncio.run(_send(here, method, url, headers, content, parts, seconds, later))
    except HTTPError as error:
        stop(unreachable(url, error))
    except KeyboardInterrupt:
        raise typer.Exit(1) from None
    _show(response)
    run_id = response.headers.get("x-run-id")
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and run_id and here.local:
        err.print(
            f"What failed, with the line and the fix: {program()} runs show {run_id}", markup=False, highlight=False
        )
    by_token = response.headers.get("www-authenticate", "").startswith("Bearer")
    if response.status_code == 401 and by_token and here.local and token_file is None:
        sent = f"The token was {who}'s" if who else "No token was sent"
        names = ", ".join([*here.local.people, *here.local.applications])
        err.print(f"{sent}. Call as another one with --as NAME: {names}.", markup=False, highlight=False)
    raise typer.Exit(0 if response.is_success else 1)


async def _send(
    here: Workspace,
    method: str,
    url: str,
    headers: dict[str, str],
    content: bytes | None,
    parts: list[tuple[str, Any]] | None,
    seconds: float,
    later: Callable[[], Mapping[str, str]] | None,
) -> Response:
    """The response. If `later` returns headers for it, the result of a durable run is waited for."""
    async with http_client(here.settings.ca_bundle, proxy=here.settings.way_out, timeout=seconds) as client:
        response = await client.request(method, url, headers=headers, content=content, files=parts)
        if later is None or not place_of(response):
            return response
        return await result_of(client, here.server_url, response, later)


def _later(
    here: Workspace, who: str | None, token: str | None, no_wait: bool
) -> Callable[[], Mapping[str, str]] | None:
    """The headers of requests for the result: None if it is not waited for."""

    def headers() -> Mapping[str, str]:
        new = here.local.token(who) if here.local is not None and who is not None else token
        return {"Authorization": f"Bearer {new}"} if new else {}

    return None if no_wait else headers


def _show(response: Response) -> None:
    run_id = response.headers.get("x-run-id")
    colour = "green" if response.is_success else "red"
    line = f"[{colour}]{response.status_code} {escaped(response.reason_phrase)}[/]"
    err.print(line + (f"  run {escaped(run_id)}" if run_id else ""), highlight=False)
    challenge = response.headers.get("www-authenticate")
    if challenge:
        err.print(f"WWW-Authenticate: {challenge}", markup=False, highlight=False, soft_wrap=True)
    text = _json_text(response)
    if text:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        sys.stdout.buffer.write(_for_terminal(response) if sys.stdout.isatty() else response.content)


def _for_terminal(response: Response) -> bytes:
    return plain(response.text, lines=True).encode("utf-8", "replace")


def _json_text(response: Response) -> str:
    """The body indented; "" if it is not JSON, even if its type says so."""
    if "json" not in response.headers.get("content-type", ""):
        return ""
    try:
        return json.dumps(response.json(), indent=2, ensure_ascii=not sys.stdout.isatty())
    except (ValueError, RecursionError):
        return ""


def _method_and_time(here: Workspace, trigger: str) -> tuple[str, float]:
    """The workflow's first method, and the seconds to wait for its reply."""
    found = here.load().triggers.get(trigger.partition("/")[0])
    if found is None:
        return "POST", SECONDS
    workflow = found.workflow
    return workflow.methods[0], SECONDS if workflow.durable else max(SECONDS, workflow.timeout + 10)
