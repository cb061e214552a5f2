"""The claimed identity of a rejected request and every check of its token, for the refusal's record.

Claims of a token that was not verified may be forged. They are shortened, made printable, and marked as unverified.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from postern.access import Check, Guarded, Refused
from postern.access.agent import OF_AGENTS, agent_of
from postern.identity.bearer import bearer_token
from postern.identity.explained import explained
from postern.identity.identify import Identity
from postern.identity.token import read, shown
from postern.redaction import without_tokens

_LENGTH = 100


class AgentClaims(TypedDict):
    """The agent in a token: see access.Agent."""

    client_id: str | None
    blueprint: str | None
    kind: str


class Claimed(TypedDict):
    """The identity in a token. `agent` is None if it names no agent. `verified` means that the token is
    of one of our tenants and signed by its key."""

    object_id: str | None
    client_id: str | None
    tenant_id: str | None
    name: str | None
    token_id: str | None
    agent: AgentClaims | None
    verified: bool


class Examined(NamedTuple):
    """The result of examining a token: every check of it, and the identity it claims."""

    checks: Sequence[Check]
    claimed: Claimed | None


def claimed(token: str, *, verified: bool) -> Claimed | None:
    """The identity that the token claims; None if it cannot be read or claims none."""
    try:
        claims = read(token).claims
    except Refused:
        return None
    who = Claimed(
        object_id=_id(claims.get("oid")),
        client_id=_id(claims.get("azp") or claims.get("appid")),
        tenant_id=_id(claims.get("tid")),
        name=_name(claims.get("name")),
        token_id=_id(claims.get("uti")),
        agent=_agent(claims),
        verified=verified,
    )
    return who if any((who["object_id"], who["client_id"], who["tenant_id"], who["name"])) else None


async def examine(
    identity: Identity, headers: Iterable[tuple[bytes, bytes]], policy: Guarded, *, proved: bool
) -> Examined | None:
    """Every check of the token in these headers against this policy, as `postern explain` shows them; None if there is
    no readable token. `proved` means that it was verified when the request came."""
    try:
        token = bearer_token(headers)
    except Refused:
        return None
    result = await explained(identity, token, policy)
    return Examined(list(result.checks), claimed(token, verified=proved or result.caller is not None))


def _agent(claims: Mapping[str, Any]) -> AgentClaims | None:
    """The agent that the claims name, which may be malformed."""
    scopes = claims.get("scp")
    person = claims.get("idtyp") != "app" and isinstance(scopes, str) and scopes not in ("", "/")
    texts = {name: claims[name] for name in OF_AGENTS if isinstance(claims.get(name), str)}
    found = agent_of(texts, "", person=person)
    if found is None:
        return None
    client_id = _id(claims.get("azp") or claims.get("appid"))
    return AgentClaims(client_id=client_id, blueprint=_id(found.blueprint), kind=found.kind)


def _id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return shown(without_tokens(value) if isinstance(value, str) else value)[:_LENGTH]


def _name(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return "".join(filter(str.isprintable, without_tokens(value)[: 2 * _LENGTH]))[:_LENGTH] or None
