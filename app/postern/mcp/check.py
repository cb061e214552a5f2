"""What `postern mcp check` looks at: every stage between a client and its tools. No token is in what it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from postern.http_client import AsyncClient, HTTPError, InvalidURL, Response
from postern.mcp.messages import HEADERS, NoList, challenge_of, document_in, request_for_tools, tools_in

Json = dict[str, Any]
State = Literal["ok", "warning", "failed", "skipped"]

MOST_PAGES = 20
_SHOWN = 10
_UNREACHABLE = "Check the address, DNS, the proxy and the certificate, and whether the server runs"


@dataclass(frozen=True, slots=True)
class Stage:
    """What was found at one stage. `fix` says what to do, "" if it is ok."""

    name: str
    state: State
    detail: str
    fix: str = ""


class NotListed(Exception):
    """The tools could not be listed."""

    def __init__(self, detail: str, fix: str, *, status: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.status = status


async def check(client: AsyncClient, url: str, token: str | None) -> AsyncIterator[Stage]:
    """The stages, one after the other. Without a `token` the last one is skipped."""
    reply = await _sent(client, url, None)
    if isinstance(reply, Stage):
        yield reply
        return
    challenge = challenge_of(reply.headers.get("www-authenticate", ""))
    yield (stage := _challenged(reply, challenge))
    if stage.state == "failed":
        return
    if reply.status_code == 401:
        metadata = await _document(client, challenge["resource_metadata"])
        for stage in _described(url, challenge["resource_metadata"], metadata):
            yield stage
        for server in _texts(metadata, "authorization_servers")[:1] if isinstance(metadata, dict) else ():
            scope = challenge.get("scope", "")
            yield _sign_in(server, scope, await _document(client, f"{server}/.well-known/openid-configuration"))
    yield await _listed(client, url, token, challenge.get("scope", ""), required=reply.status_code == 401)


async def tools_at(client: AsyncClient, url: str, token: str | None) -> list[Json]:
    """The tools that the caller of a token gets. Raises NotListed."""
    found: list[Json] = []
    cursor = None
    for _ in range(MOST_PAGES):
        reply = await _sent(client, url, token, cursor)
        if isinstance(reply, Stage):
            raise NotListed(reply.detail, reply.fix)
        if not reply.is_success:
            raise NotListed(_why(reply), _fix_of(reply.status_code), status=reply.status_code)
        try:
            tools, cursor = tools_in(reply.headers.get("content-type", ""), reply.content)
        except NoList as error:
            raise NotListed(f"{url}: {error}", "Is this the /mcp of a Postern server?") from None
        found += tools
        if cursor is None:
            break
    return found


async def _sent(client: AsyncClient, url: str, token: str | None, cursor: str | None = None) -> Response | Stage:
    """The reply to a request for the tools, or why there is none."""
    headers = {**HEADERS, "Authorization": f"Bearer {token}"} if token else dict(HEADERS)
    try:
        return await client.post(url, headers=headers, content=request_for_tools(cursor))
    except (HTTPError, InvalidURL) as error:
        return Stage("reach", "failed", f"{url} cannot be reached: {type(error).__name__}", _UNREACHABLE)


def _challenged(reply: Response, challenge: dict[str, str]) -> Stage:
    """Whether a client without a token learns where to sign in."""
    if reply.is_success:
        return Stage("challenge", "ok", "no token is required: the server has no tenant, and its tools are anonymous")
    if reply.status_code != 401:
        return Stage("challenge", "failed", _why(reply), _fix_of(reply.status_code))
    if missing := [name for name in ("resource_metadata", "scope") if not challenge.get(name)]:
        said = f"the 401 does not name {' and '.join(missing)}, so clients do not know where to sign in"
        fix = "Set POSTERN_PUBLIC_URL to the https address that clients use, and let the proxy pass WWW-Authenticate on"
        return Stage("challenge", "failed", said, fix)
    return Stage("challenge", "ok", f"401, with the scope {challenge['scope']}")


def _described(url: str, place: str, metadata: Json | Stage) -> list[Stage]:
    """Whether the metadata is what clients and Entra compare byte by byte."""
    if isinstance(metadata, Stage):
        fix = "Let the proxy pass /.well-known/oauth-protected-resource on to this server"
        return [Stage("metadata", "failed", metadata.detail, fix)]
    resource = metadata.get("resource")
    if resource != url:
        said = f"the resource is {resource}, and clients that are given {url} reject it (RFC 9728, section 3.3)"
        return [Stage("metadata", "failed", said, f"Give clients {resource}, or correct POSTERN_PUBLIC_URL")]
    if not _texts(metadata, "authorization_servers"):
        return [Stage("metadata", "failed", "it names no authorization server", "Set POSTERN_TENANT_ID")]
    bare = [each for each in _texts(metadata, "scopes_supported") if not each.startswith(f"{url}/")]
    if bare or not _texts(metadata, "scopes_supported"):
        said = f"the scopes {', '.join(bare) or '(none)'} do not begin with the resource: Entra answers AADSTS9010010"
        return [Stage("metadata", "failed", said, "Let nothing between clients and this server rewrite the metadata")]
    return [Stage("metadata", "ok", f"{place}: the resource is {url}")]


def _sign_in(server: str, scope: str, configuration: Json | Stage) -> Stage:
    """Whether clients can sign in there, and what has to be registered for it."""
    if isinstance(configuration, Stage):
        return Stage("sign-in", "failed", configuration.detail, "Check POSTERN_TENANT_ID, and the way to Entra")
    if missing := [name for name in ("authorization_endpoint", "token_endpoint") if not configuration.get(name)]:
        said = f"{server} has no {' and no '.join(missing)}"
        return Stage("sign-in", "failed", said, "Check POSTERN_TENANT_ID and POSTERN_AUTHORITY")
    resource = scope.rpartition("/")[0]
    said = (
        f"clients ask {server} for {scope}; the application needs the identifier URI {resource}, "
        "requestedAccessTokenVersion 2, and each client's consent"
    )
    return Stage("sign-in", "ok", said)


async def _listed(client: AsyncClient, url: str, token: str | None, scope: str, *, required: bool) -> Stage:
    """Which tools the caller of the token gets."""
    if token is None and required:
        fix = f"Give a token: az account get-access-token --scope {scope} --query accessToken --output tsv > FILE"
        return Stage("list", "skipped", "there is no token to list the tools with", fix)
    try:
        tools = await tools_at(client, url, token)
    except NotListed as why:
        return Stage("list", "failed", why.detail, why.fix)
    names = [str(each.get("name")) for each in tools]
    if not names:
        return Stage("list", "warning", "this caller gets no tool", "Look at access= of the workflows with tool=")
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Stage("list", "ok", f"{len(names)} tools: {', '.join(names[:_SHOWN])}{more}")


async def _document(client: AsyncClient, url: str) -> Json | Stage:
    """The JSON object at this URL, or why there is none."""
    try:
        reply = await client.get(url, headers={"Accept": "application/json"})
    except (HTTPError, InvalidURL) as error:
        return Stage("", "failed", f"{url} cannot be reached: {type(error).__name__}")
    found = document_in(reply.content) if reply.status_code == 200 else {}
    return found or Stage("", "failed", f"{url} answered {reply.status_code}, and no JSON object")


def _why(reply: Response) -> str:
    """What a reply that is no success says: its challenge, its problem, or its JSON-RPC error."""
    challenge = challenge_of(reply.headers.get("www-authenticate", ""))
    document = document_in(reply.content)
    error = document.get("error")
    said = error.get("message") if isinstance(error, dict) else document.get("detail")
    return f"{reply.url} answered {reply.status_code}: {challenge.get('error_description') or said or 'no details'}"


def _fix_of(status: int) -> str:
    """What to do about a status."""
    fixes = {
        401: "`postern explain` shows each check of the token, and /refusals what the server saw",
        403: "The server rejected the request before its token: look at /refusals",
        404: (
            "Write tool=True at a workflow, install postern-workflows[mcp], leave POSTERN_MCP on, and let the proxy "
            "pass /mcp on"
        ),
        405: "The proxy or the server does not take POST here: is this the URL of /mcp?",
    }
    return fixes.get(status, "Look at the log of the server and of the proxy in front of it")


def _texts(document: Json, name: str) -> list[str]:
    found = document.get(name)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
