"""`/revocations`: end the access of a person, an application or a token, and take that back. For operators."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import is_operator
from postern.api.handlers import holder_for
from postern.api.list_query import DEFAULT_LIMIT, MOST, no_parameters, pairs_of
from postern.api.representation import when
from postern.api.run_actions import Read
from postern.api.sent_object import sent_object
from postern.errors import problem
from postern.ids import is_id
from postern.journal import revocations
from postern.journal.reading.revocations import Left
from postern.journal.revocations import Kind, Revocation, actor_of
from postern.security.revocation.revoking import LONGEST_BAR, Revoking, Wanted
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply

_MEMBERS: Mapping[str, tuple[type, ...]] = {
    "subject": (str,),
    "kind": (str,),
    "for_seconds": (int, float),
    "reason": (str,),
    "tenant_id": (str,),
    "confirm": (bool,),
}
"""The members of the body of a new revocation, and their types. All but `subject` may be left out."""


@dataclass(frozen=True, slots=True)
class RevocationHandlers:
    """The endpoints. `caller` verifies the token of a request."""

    installation: Installation
    caller: Callable[[Request], Awaitable[Caller]]
    read: Read
    revoking: Revoking

    async def index(self, request: Request) -> Answer:
        """Those in effect, the newest first; with `all=true` also the others that are kept."""
        caller = await self._operator(request)
        everything, limit, cursor = _page(pairs_of(request.scope["query_string"]))
        now = self.revoking.now()
        query = partial(revocations.listed, now=now, limit=limit + 1, after=cursor, active=not everything)
        found = await self.read(query, holder_for(request, caller))
        listed = [revocation_json(each, now) for each in found[:limit]]
        goes_on = found[limit - 1].id if len(found) > limit else None
        return json_reply(200, to_json({"revocations": listed, "next": goes_on}))

    async def make(self, request: Request) -> Answer:
        """End the access of the subject, and say what goes on."""
        await self._operator(request)
        no_parameters(request.scope["query_string"])
        wanted = wanted_of(await sent_object(request))
        made = await self.revoking.make(wanted, await self._operator(request))  # again, after the body
        left = await self.revoking.left_by(made)
        shown = revocation_json(made, self.revoking.now()) | left_json(left)
        return json_reply(201, to_json(shown), {"Location": f"/revocations/{made.id}"})

    async def lift(self, request: Request) -> Answer:
        """Take a revocation back."""
        caller = await self._operator(request)
        no_parameters(request.scope["query_string"])
        lifted = await self.revoking.lift(request.path_params["id"], caller)
        return json_reply(200, to_json(revocation_json(lifted, self.revoking.now())))

    async def _operator(self, request: Request) -> Caller:
        caller = await self.caller(request)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller


def wanted_of(body: Mapping[str, Any]) -> Wanted:
    """The revocation that a body asks for. Raises Problem `invalid-body`."""
    errors = [{"where": name, "message": "is not a member of this body"} for name in body if name not in _MEMBERS]
    for name, types in _MEMBERS.items():
        given = body.get(name)
        wrong = not isinstance(given, types) or (isinstance(given, bool) and bool not in types)
        if (name in body and wrong) or (name == "subject" and given is None):
            kinds = " or ".join(
                {str: "a string", int: "a number", bool: "true or false"}.get(each, "") for each in types
            )
            errors.append({"where": name, "message": f"must be {kinds.removesuffix(' or ')}"})
    kind = body.get("kind")
    if isinstance(kind, str) and kind not in tuple(Kind):
        errors.append({"where": "kind", "message": f"must be one of {', '.join(Kind)}"})
    if errors:
        raise problem("invalid-body", detail="The revocation is not valid.", errors=errors[: len(_MEMBERS)])
    return Wanted(
        subject=body["subject"],
        kind=Kind(kind) if kind is not None else None,
        seconds=float(max(-1.0, min(body.get("for_seconds", 0.0), 2 * LONGEST_BAR))),  # an integer may be of any length
        reason=body.get("reason", ""),
        tenant_id=body.get("tenant_id", ""),
        confirmed=body.get("confirm", False),
    )


def revocation_json(revocation: Revocation, now: float) -> dict[str, Any]:
    """A revocation. `accepted_again_at` is from when on a new token is accepted, null if it is already."""
    rule = revocation.rule
    again = rule.as_revoked().retry_at()
    active = revocation.in_effect(now)
    return {
        "id": revocation.id,
        "kind": rule.kind.value,
        "subject": rule.subject,
        "tenant_id": rule.tenant_id or None,
        "name": revocation.name or None,
        "reason": revocation.reason or None,
        "in_effect": active,
        "not_before": when(rule.not_before),
        "bars_until": when(rule.bars_until or None),
        "accepted_again_at": when(again) if active and again > now else None,
        "made_by": actor_of(revocation.made_by),
        "made_at": when(revocation.made_at),
        "lifted_by": actor_of(revocation.lifted_by) or None,
        "lifted_at": when(revocation.lifted_at),
    }


def left_json(left: Left) -> dict[str, Any]:
    """What goes on: runs in progress, which can be cancelled, shared connections that the person connected, and signed
    URLs that the subject made."""
    return {
        "runs_in_progress": left.runs,
        "more_runs": left.more_runs,
        "shared_connections": left.shared,
        "signed_urls": [{"workflow": workflow, "id": link} for workflow, link in left.urls],
        "more_signed_urls": left.more_urls,
    }


def _page(pairs: Sequence[tuple[str, str]]) -> tuple[bool, int, str]:
    """Whether all are listed, how many, and after which one. Raises Problem `bad-filter`."""
    given = dict(pairs)
    errors = [
        {"where": name, "message": "is not a parameter of this list"}
        for name in given
        if name not in ("all", "limit", "cursor")
    ]
    errors += [
        {"where": name, "message": "is given twice"} for name, n in Counter(n for n, _ in pairs).items() if n > 1
    ]
    everything, limit, cursor = (
        given.get("all", "false"),
        given.get("limit", str(DEFAULT_LIMIT)),
        given.get("cursor", ""),
    )
    if everything not in ("true", "false"):
        errors.append({"where": "all", "message": "is true or false"})
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= MOST):
        errors.append({"where": "limit", "message": f"is a number from 1 to {MOST}"})
    if cursor and not is_id(cursor):
        errors.append({"where": "cursor", "message": "is the value of next in the page before"})
    if errors:
        raise problem("bad-filter", errors=errors)
    return everything == "true", int(limit), cursor
