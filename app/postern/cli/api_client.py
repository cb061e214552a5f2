"""The server's API with a caller's token, for the commands that show records."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from postern.access import GUID, default_scope
from postern.authoring.asked import wait_name
from postern.cli.terminal import err, plain, program, stop
from postern.cli.workspace import OPERATOR, Workspace
from postern.errors import PROBLEMS
from postern.http_client import URL, AsyncClient, HTTPError, ReadTimeout, Response, http_client
from postern.loopback import is_loopback

Data = Annotated[
    str | None, typer.Option("--data", "-d", help="The body as JSON. @FILE reads a file, - standard input.")
]
As = Annotated[
    str | None,
    typer.Option("--as", help="Sign in as this person or application of the local tenant. There, default: ada."),
]
TokenFile = Annotated[
    str | None, typer.Option("--token-file", help="A file with an access token to send; - is standard input.")
]
AsOperator = Annotated[
    str | None,
    typer.Option("--as", help="Sign in as this person or application of the local tenant. Default: its operator."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The most records to show, newest first.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only from this time on: a duration ago such as 15m, 2h or 3d, or a timestamp such as "
        "2026-01-31T10:00:00Z.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only up to this time; written like --since.")]
Record = dict[str, Any]

PAGE = 100
"""Records requested at a time."""

_HINTS = {
    "unauthenticated": "Send another token with --as or --token-file.",
    "insecure-transport": "Set POSTERN_PUBLIC_URL to the server's https address.",
    "confirmation-required": "With --yes it is done nevertheless.",
    "forbidden": "Operators have the app role Postern.Operator, or their object id is in POSTERN_OPERATORS.",
    "not-found": "Is this a Postern server that keeps records?",
}


def given_token(here: Workspace, who: str | None, token_file: str | None) -> str | None:
    """The token that the options give, None if they give none. Exits with 2 if the options are not valid."""
    if who is not None and token_file is not None:
        stop("--as and --token-file both choose the caller: give one of them.", 2)
    if token_file is not None:
        content = sys.stdin.buffer.read() if token_file == "-" else read_file("--token-file", token_file)  # noqa: S105
        if not content.strip().isascii() or len(content.split()) != 1:
            stop(f"--token-file {token_file}: not an access token, which is one line of letters, digits and dots.", 2)
        return content.decode("ascii").strip()
    if who is None:
        return None
    if here.local is None:
        stop("--as is for the local tenant, but POSTERN_TENANT_ID is set to a real one: use --token-file.", 2)
    try:
        return here.local.token(who)
    except LookupError as unknown:
        stop(str(unknown.args[0]), 2)


def token_source(here: Workspace, who: str | None, token_file: str | None) -> Callable[[], str]:
    """A callable that returns the token for each request: the given one, or a new one of the local tenant, by default
    for its operator. If a real tenant is set and no token given, exits with 2 and says how to get a token."""
    local = here.local
    if who is None and token_file is None and local is not None:
        who = _local_operator(here, local.people)
    token = given_token(here, who, token_file)
    if token is None:
        stop(f"--token-file is required. {how_to_get_a_token(here.settings.audience)}", 2)
    return (lambda: local.token(who)) if local is not None and who is not None else (lambda: token)


def how_to_get_a_token(audiences: tuple[str, ...]) -> str:
    """The command that requests a token from Entra."""
    if not audiences:
        return "POSTERN_AUDIENCE is not set, so the server accepts no tokens yet: set it first."
    return (
        "Request your token from Entra, and pass it on:\n"
        f"  az account get-access-token --scope {default_scope(audiences[0])} --query accessToken --output tsv"
        f" | {program()} runs --token-file -"
    )


def others_could_read(url: str) -> bool:
    """Whether a token that is sent to this address could be read on the way."""
    to = URL(url)
    return to.scheme != "https" and not is_loopback(to.host) and to.host not in ("0.0.0.0", "::")  # noqa: S104


def check_secrecy(url: str) -> None:
    """Exit with 2 if others could read a token that is sent to this address."""
    if others_could_read(url):
        to = URL(url)
        stop(
            f"{to.scheme}://{to.netloc.decode()} is plain http, where others could read the token: it was not sent. "
            "Set POSTERN_PUBLIC_URL to the server's https address.",
            2,
        )


def record_id(given: str) -> str:
    """The id of a run, as in a URL. Exits with 2 if it is not valid."""
    found = given.strip().lower()
    if not GUID.fullmatch(found):
        stop(f"{given!r} is not a run id: run ids look like 01980d3c-8c5e-7cc3-98c4-dc0c0c07398f.", 2)
    return found


def wait_name_of(given: str) -> str:
    """The name of a signal or approval, as in a URL. Exits with 2 if it is not valid."""
    try:
        return wait_name(given)
    except ValueError as wrong:
        stop(f"{wrong}.", 2)


def unreachable(url: str, error: HTTPError) -> str:
    """The error for a request without a response. A server that takes too long is not an unreachable one."""
    if isinstance(error, ReadTimeout):
        return f"{url} has not answered in time. The server may still work on it: `{program()} runs` lists its runs."
    return f"{url} cannot be reached: {type(error).__name__}. Is the server running? Start it with `{program()} dev`."


def read_file(option: str, name: str) -> bytes:
    """The content of a file that an option names. Exits with 2 if it cannot be read."""
    try:
        return Path(name).read_bytes()
    except OSError as error:
        stop(f"{option} {name}: {error.strerror}.", 2)


def sent_data(data: str | None) -> bytes | None:
    """The body that the option --data gives. Exits with 2 if its file cannot be read."""
    if data is None:
        return None
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return read_file("--data", data[1:])
    return data.encode()


class Reply(NamedTuple):
    """A response of the server: its status, its headers, whose names have any case, and its document."""

    status: int
    headers: Mapping[str, str]
    document: Record


class Api:
    """The server's HTTP API, for one caller. An unsuccessful response is reported and ends the command: with exit code
    2 if a filter is not valid, else with `exit_code`."""

    def __init__(self, client: AsyncClient, url: str, token: Callable[[], str], exit_code: int = 1) -> None:
        self._client = client
        self._url = url
        self._token = token
        self._exit_code = exit_code

    async def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Record:
        """The document at this path."""
        return (await self.request("GET", path, query))[1]

    async def post(self, path: str, prefer: str = "") -> tuple[int, Record]:
        """The status and the document of the response to a POST. `prefer` is its preference (RFC 7240)."""
        return await self.request("POST", path, more={"Prefer": prefer} if prefer else {})

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        body: Record | bytes | None = None,
    ) -> tuple[int, Record]:
        """The status and the document of the response. `more` are further headers. `body` is sent as JSON; bytes are
        JSON already."""
        status, _, document = await self.attempt(method, path, query, more, body)
        if not 200 <= status < 300:
            stop(problem_text(status, document), 2 if status == 400 else self._exit_code)
        return status, document

    async def attempt(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        body: Record | bytes | None = None,
    ) -> Reply:
        """The same, also if the server reports an error."""
        url = self._url + path
        params = {name: value for name, value in (query or {}).items() if value is not None}
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json", **more}
        try:
            if isinstance(body, bytes):
                headers = {"Content-Type": "application/json", **headers}
                response = await self._client.request(method, url, params=params, headers=headers, content=body)
            else:
                response = await self._client.request(method, url, params=params, headers=headers, json=body)
        except HTTPError as error:
            stop(unreachable(url, error), self._exit_code)
        document = _document(response)
        if document is None:
            stop(f"{url} answered {response.status_code}, but not as a Postern server does.", self._exit_code)
        return Reply(response.status_code, response.headers, document)


class Listing:
    """A list of the API, newest first, page by page, up to `limit` records. `time` is the member of a record with its
    time: a list of several pages reports how far back it has got. `member` of a page has its
    records, by default `name`. Afterwards `next` is None if there are no more records."""

    def __init__(
        self, api: Api, name: str, query: Mapping[str, str | None], limit: int, time: str = "", member: str = ""
    ) -> None:
        self._api = api
        self._name = name
        self._query = query
        self._limit = limit
        self._time = time
        self._member = member or name
        self._back = ""
        self.next: str | None = None
        self.pages = 0

    async def __aiter__(self) -> AsyncIterator[list[Record]]:
        left = self._limit
        while left > 0 and (self.pages == 0 or self.next):
            cursor = self.next
            query = {**self._query, "limit": str(min(left, PAGE)), "cursor": cursor}
            document = await self._api.get(f"/{self._name}", query)
            records, self.next = _records(document, self._member), document.get("next")
            if self.next is not None and self.next == cursor:
                stop("the server gives the same page again and again.")
            self.pages += 1
            left -= len(records)
            if records and self._time:
                self._back = str(records[-1].get(self._time))
            if self.pages & (self.pages - 1) == 0 and self.next and left > 0:  # not after each of many pages
                self._report_progress()
            yield records
        self._report_progress()

    def _report_progress(self) -> None:
        if self._time and self.pages > 1:
            back = f"searched back to {self._back}" if self._back else "nothing found yet"
            err.print(plain(f"{back}, in {self.pages} pages"), style="dim", markup=False, highlight=False)


async def records_of(
    here: Workspace,
    who: str | None,
    token_file: str | None,
    name: str,
    query: Mapping[str, str | None],
    limit: int,
    *,
    time: str,
    member: str = "",
) -> tuple[list[Record], str | None]:
    """Up to `limit` records of a list of the API, and the cursor of the rest; None if there is none. For the arguments
    see Listing."""
    async with connected_api(here, token_source(here, who, token_file)) as api:
        listing = Listing(api, name, query, limit, time=time, member=member)
        return [record async for page in listing for record in page], listing.next


def say_more(limit: int) -> None:
    """Say that a list has more records than were shown."""
    err.print(f"There are more: raise --limit above {limit}.", style="dim", highlight=False)


@asynccontextmanager
async def connected_api(here: Workspace, token: Callable[[], str], exit_code: int = 1) -> AsyncIterator[Api]:
    """The API of this installation's server. Exits with 2 if others could read the token on the network."""
    check_secrecy(here.server_url)
    async with http_client(here.settings.ca_bundle, proxy=here.settings.way_out) as client:
        yield Api(client, here.server_url, token, exit_code)


def problem_text(status: int, document: Mapping[str, Any]) -> str:
    """The text of a problem of the server (RFC 9457), with a hint what to do about it."""
    lines = [f"the server answered {status}: {document.get('detail') or document.get('title') or 'no details given.'}"]
    errors = document.get("errors")
    wrong = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    lines += [f"  {error.get('where')}: {error.get('message')}" for error in wrong]
    code = str(document.get("code"))
    hint = _HINTS.get(code)
    if hint and (
        code != "not-found" or document.get("detail") == PROBLEMS[code].detail
    ):  # else it says what is missing
        lines.append(hint)
    if document.get("request_id"):
        lines.append(f"request {document['request_id']}")
    return "\n".join(lines)


def _records(document: Record, name: str) -> list[Record]:
    records = document.get(name)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        stop(f"the server's response has no list of {name}.")
    return records


def _document(response: Response) -> Record | None:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _local_operator(here: Workspace, people: Mapping[str, str]) -> str:
    """A person of the local tenant who is an operator by the settings."""
    operators = here.settings.operators
    return next((name for name, object_id in people.items() if object_id in operators), OPERATOR)
