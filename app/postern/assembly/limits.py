"""Limits: how many requests one caller, and one address, may send to the triggers. None unless the settings have
some."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from postern.access import Caller, Refused
from postern.catalog import Trigger
from postern.errors import Problem, problem
from postern.security.limits.addresses import client_of
from postern.security.limits.limiter import Header, Limiter, Quota, Taken
from postern.settings import Settings
from postern.triggers.gate import ADDED
from postern.triggers.secure_transport import Scope

UNCOUNTED = "postern.limits.uncounted"
"""In the scope of a request that was not counted for its address."""

Recall = Callable[[Scope, Mapping[bytes, bytes]], Caller | None]


@dataclass(frozen=True, slots=True)
class LimitChecks:
    """What requests pass at the gate; None where the settings have no rate of that kind."""

    before: Callable[[Trigger, Scope], None] | None = None
    after: Callable[[Trigger, Caller, Scope], None] | None = None


def limit_checks(settings: Settings, recall: Recall) -> LimitChecks:
    """The checks of the settings' `[limits]`. `recall` returns the caller of a token that was verified before."""
    callers, addresses = Limiter(settings.limits, "caller"), Limiter(settings.limits, "address")
    checks = RequestLimits(callers, addresses, settings.client_id or "", recall)
    counted = addresses.limits_anything
    return LimitChecks(
        before=_of_address(checks) if counted else None,
        after=_of_caller(checks) if counted or callers.limits_anything else None,
    )


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Counts the requests of triggers. Calls of Postern's own application, which its runs make, are not counted."""

    callers: Limiter
    addresses: Limiter
    client_id: str
    recall: Recall

    def of_address(self, trigger: Trigger, scope: Scope) -> None:
        """Count a request for its address, before its token is looked at. Raises Problem 429."""
        client = scope.get("client")
        taken = self.addresses.take(trigger.workflow.name, client_of(client[0]) if client else "")
        if taken is None:
            return
        if (quota := taken.exceeded) is None:
            scope[ADDED] = taken.behind(before) if (before := scope.get(ADDED)) else taken.headers
        elif self._sent_by_own_run(scope):
            scope[UNCOUNTED] = True
        else:
            _refuse(quota, taken, scope, "address")

    def of_caller(self, trigger: Trigger, caller: Caller, scope: Scope) -> None:
        """Count a request for its caller; one without a token for its address. Raises Problem 429."""
        name = trigger.workflow.name
        if caller.kind == "application" and self._is_own(caller):
            if UNCOUNTED not in scope:
                self.addresses.give_back(name, _client(scope))
            return
        client = _client(scope) if caller.kind == "anonymous" else (caller.tenant_id, caller.object_id)
        taken = self.callers.take(name, client)
        if taken is None:
            return
        if (quota := taken.exceeded) is None:
            scope[ADDED] = taken.behind(before) if (before := scope.get(ADDED)) else taken.headers
        else:
            _refuse(quota, taken, scope, "caller")

    def _is_own(self, caller: Caller) -> bool:
        return caller.client_id == self.client_id and bool(self.client_id) and caller.kind == "application"

    def _sent_by_own_run(self, scope: Scope) -> bool:
        """Whether the token is one of Postern's own application that was verified before."""
        headers = scope["headers"]
        if not self.client_id or sum(name == b"authorization" for name, _ in headers) != 1:
            return False
        try:
            caller = self.recall(scope, dict(headers))
        except (Problem, Refused):
            return False
        return caller is not None and self._is_own(caller)


def _of_address(checks: RequestLimits) -> Callable[[Trigger, Scope], None]:
    """`RequestLimits.of_address` with the usual case in front. It is part of every request, so it has what it needs in
    variables of its own and looks at little memory. An address that was counted is the name of its client."""
    usual, otherwise = checks.addresses.usual, checks.of_address
    if usual is None:
        return otherwise
    full_at, now, gap, taken = usual
    behind: tuple[Header, ...] | None = None
    fields: tuple[Header, ...] = taken.headers

    def of_address(trigger: Trigger, scope: Scope) -> None:
        nonlocal behind, fields
        moment = now()
        if not (client := scope.get("client")) or full_at.get(client[0], moment) >= moment:
            otherwise(trigger, scope)
            return
        full_at[client[0]] = moment + gap
        if (before := scope.get(ADDED)) is not behind:
            behind, fields = before, taken.behind(before or ())
        scope[ADDED] = fields

    return of_address


def _of_caller(checks: RequestLimits) -> Callable[[Trigger, Caller, Scope], None]:
    """The same for `RequestLimits.of_caller`. Callers without a token are no usual case, and Postern itself is never
    counted."""
    usual, otherwise = checks.callers.usual, checks.of_caller
    if usual is None:
        return otherwise
    full_at, now, gap, taken = usual
    behind: tuple[Header, ...] | None = None
    fields: tuple[Header, ...] = taken.headers

    def of_caller(trigger: Trigger, caller: Caller, scope: Scope) -> None:
        nonlocal behind, fields
        moment, who = now(), (caller.tenant_id, caller.object_id)
        if full_at.get(who, moment) >= moment:
            otherwise(trigger, caller, scope)
            return
        full_at[who] = moment + gap
        if (before := scope.get(ADDED)) is not behind:
            behind, fields = before, taken.behind(before or ())
        scope[ADDED] = fields

    return of_caller


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client_of(client[0]) if client else ""


def _refuse(quota: Quota, taken: Taken, scope: Scope, of: str) -> NoReturn:
    """Add the fields of a rate that is used up to the response, and raise Problem 429."""
    scope[ADDED] = taken.behind(scope.get(ADDED, ()))
    raise problem(
        "rate-limited",
        detail=f"More requests came from this {of} than this server accepts: {quota.text}.",
        reason=f"{quota.place} = {quota.text}",
        headers={"Retry-After": str(taken.retry_after)},
    )
