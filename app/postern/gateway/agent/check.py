"""What `postern gateway check` looks at: every stage between this machine and the server, and every target."""

import asyncio
import os
import ssl
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio

from postern.gateway.agent.agent import agent_name
from postern.gateway.agent.allowed import Target
from postern.gateway.agent.dial import DialFault, certificate_fault, dial, issuer_of
from postern.gateway.agent.plan import FAST_EVERY, Plan, Reached
from postern.gateway.agent.rows import Row
from postern.gateway.agent.session import Session, Socket
from postern.gateway.agent.settings import AgentSettings
from postern.gateway.agent.sign_in import SKEW, SignInFault, Token, Tokens, TokenSource, clock_ahead, clock_words
from postern.gateway.agent.targets import Targets, Unreached, resolve
from postern.gateway.hello import AgentState, ServerState
from postern.gateway.policy import ROLE
from postern.gateway.streams import LinkStream
from postern.http_client import HTTPError, http_client
from postern.plain_text import plain
from postern.version import own_version

LINK_SECONDS = 10.0
REACH_SECONDS = 5.0

State = Literal["ok", "warning", "failed"]
Dial = Callable[[AgentSettings, str, Token], Awaitable[Socket]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What was found at one stage. `fix` says what to do, "" if it is ok. Neither has a secret."""

    name: str
    state: State
    detail: str
    fix: str = ""


async def check(
    settings: AgentSettings, *, tokens: TokenSource | None = None, dial: Dial = dial
) -> AsyncIterator[Stage]:
    """All stages, one after the other. The targets are checked even if there is no link."""
    for stage in exposed_files(settings):
        yield stage
    for url in settings.addresses:
        async for stage in _server(settings, url):
            yield stage
    tokens = tokens or Tokens(settings)
    token = None
    try:
        token = await tokens.get()
    except SignInFault as fault:
        yield Stage("sign-in", "failed", fault.wrong, fault.fix)
    if token is not None:
        yield _signed_in(settings, token)
        yield _role(token)
        async for stage in _links(settings, token, dial):
            yield stage
    if not settings.allow:
        yield Stage("targets", "warning", "there is no [[allow]], so nothing is allowed", "Write a row for each target")
    for row in settings.allow:
        yield await _target(row)


def exposed_files(settings: AgentSettings) -> list[Stage]:
    """Files of `sign_in` that every user of this machine can read."""
    found = [path for path in settings.sign_in.secret_files if path.stat().st_mode & stat.S_IROTH]
    if os.name != "posix":
        return []  # there the mode says nothing of who may read
    fix = "Let only the agent's user read it (chmod 0400 or 0440)"
    return [Stage("files", "warning", f"every user of this machine can read {path}", fix) for path in found]


async def _server(settings: AgentSettings, url: str) -> AsyncIterator[Stage]:
    host, proxied = urlsplit(url).hostname or "", settings.way_out is not None and settings.proxy is not None
    name = (urlsplit(settings.proxy).hostname or "") if proxied and settings.proxy else host
    port = urlsplit(settings.proxy if proxied and settings.proxy else url).port or 443
    try:
        found = await resolve(name, port)
        yield Stage("DNS", "ok", f"{name} is {', '.join(found)}")
    except OSError:
        fix = "Correct its name, or the name servers of this machine"
        yield Stage("DNS", "failed", f"DNS has no address of {name}", fix)
        return
    if proxied:
        yield Stage("proxy", "ok", f"{settings.proxy} is used for {host}")
    began = time.time()
    try:
        async with (
            http_client(settings.ca_bundle, proxy=settings.way_out, timeout=LINK_SECONDS) as client,
            client.stream("GET", f"{url}/healthz") as response,
        ):
            date, stream = response.headers.get("Date"), response.extensions.get("network_stream")
            issuer = issuer_of(_certificate_of(stream))
            status = response.status_code
    except (HTTPError, ssl.SSLError) as error:
        yield _unreached(settings, host, error)
        return
    if url.startswith("https"):
        yield Stage("certificate", "ok", f"the certificate of {host} was issued by {issuer or 'an unnamed authority'}")
    if status >= 500:
        yield Stage("server", "warning", f"{host} answered {status} to /healthz", "See whether the server runs")
    ahead = clock_ahead(date, began, time.time())
    if ahead is not None and abs(ahead) > SKEW:
        words = clock_words(ahead, "the server")
        yield Stage("clock", "failed", words, "Set the clock of this machine (NTP): tokens are rejected otherwise")
    elif ahead is not None:
        yield Stage("clock", "ok", f"this machine's clock is within {max(abs(ahead), 1):.0f} s of the server's")


def _certificate_of(stream: Any) -> dict[str, Any]:
    found = stream.get_extra_info("ssl_object") if stream is not None else None
    return (found.getpeercert() or {}) if found is not None else {}


def _unreached(settings: AgentSettings, host: str, error: BaseException) -> Stage:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ssl.SSLCertVerificationError):
            fault = certificate_fault(chain, host)
            return Stage("certificate", "failed", fault.wrong, fault.fix)
        chain = chain.__cause__ or chain.__context__
    if "proxy" in str(error) and settings.proxy:
        why = plain(str(error).replace("the proxy of POSTERN_PROXY", settings.proxy))[:200]
        fix = "Let the proxy accept this machine by its address, and allow CONNECT to the server"
        return Stage("proxy", "failed", why, fix)
    detail = f"{host} cannot be reached ({type(error).__name__})"
    return Stage("server", "failed", detail, "See that a firewall lets this machine connect there, or set proxy")


def _signed_in(settings: AgentSettings, token: Token) -> Stage:
    left = token.expires_on - time.time()
    who = _claims(token).get("oid", "unknown")
    return Stage("sign-in", "ok", f"object id {plain(str(who))[:40]}, the token is valid for {left / 60:.0f} minutes")


def _role(token: Token) -> Stage:
    roles = _claims(token).get("roles", [])
    if isinstance(roles, list) and ROLE in roles:
        return Stage("role", "ok", f"the application has the role {ROLE}")
    fix = f"Assign the role {ROLE} of Postern's app registration to the agent's application in Entra"
    return Stage("role", "failed", f"the token has no role {ROLE}", fix)


def _claims(token: Token) -> dict[str, Any]:
    """The claims, for people to see. Nothing is decided by them here."""
    import jwt

    try:
        return dict(jwt.decode(token.value, options={"verify_signature": False}))
    except Exception:  # a token of another kind, which only the server understands
        return {}


async def _links(settings: AgentSettings, token: Token, dial: Dial) -> AsyncIterator[Stage]:
    """Dial until all server processes are reached, as the agent does. These links take no tunnels."""
    plan, reached = Plan(settings.addresses), dict[str, ServerState]()
    live: tuple[str, ...] = ()
    until = time.monotonic() + REACH_SECONDS
    while True:
        links = [Reached(settings.addresses[0], node, fresh=True) for node in reached]
        found = plan.next_dial(time.monotonic(), links, live)
        if found is None or (reached and time.monotonic() > until):
            break
        plan.dialled(found[0], time.monotonic())
        try:
            state = await _one_link(settings, found[0], token, dial)
        except DialFault as fault:
            yield Stage("link", "failed", fault.wrong, fault.fix)
            return
        if not reached:
            yield Stage("link", "ok", f"the server has version {plain(state.version)}, this agent {own_version()}")
        reached[state.node], live = state, state.nodes
        await anyio.sleep(FAST_EVERY)
    missing = len(set(live) - set(reached))
    detail = f"reaches {len(set(live) & set(reached))} of {len(set(live))} nodes"
    if missing:
        fix = "Let the balancer distribute connections at random, or write each node's address into servers"
        yield Stage("nodes", "warning", f"{detail}: sticky balancer", fix)
    else:
        yield Stage("nodes", "ok", detail)


async def _one_link(settings: AgentSettings, url: str, token: Token, dial: Dial) -> ServerState:
    found: list[ServerState] = []

    def changed(session: Session) -> None:
        if session.state is not None:
            found.append(session.state)
        session.duplicate = True  # it says nothing of itself
        session.io.stop("checked")

    async def refuse(stream: LinkStream) -> None:
        await stream.answer(503, end=True)

    own = AgentState(f"{settings.agent or agent_name()}-check", own_version(), draining=True)
    socket = await dial(settings, url, token)
    session = Session(url, socket, token, own, connect=refuse, changed=changed, now=time.time())
    with suppress(TimeoutError):
        async with asyncio.timeout(LINK_SECONDS):
            await session.run()
    if not found:
        raise DialFault(
            f"the server did not say hello ({session.io.ended or 'no answer in time'})",
            "See that no proxy on the way holds WebSockets back",
        )
    return found[0]


async def _target(row: Row) -> Stage:
    target = Target(row.host, row.port, (row,))
    kind = f", {row.scheme}, {' '.join(row.methods or ())} {' '.join(row.paths or ())}" if row.scheme else ", tunnel"
    name = f"{row.address}{kind}"
    try:
        targets = Targets()
        addresses: Sequence[str] = await targets.addresses(target)
        async with await targets.connect(target):
            return Stage("target", "ok", f"{name}: connected ({', '.join(addresses)})")
    except Unreached as unreached:
        return Stage("target", "failed", f"{name}: {unreached.denied.text} ({unreached.denied.reason})", _FIX)


_FIX = "See the target, its name in DNS, and the firewall between; the server cannot help here"
