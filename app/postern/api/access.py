"""Decides who may see a run, and who is an operator. Pure decisions over verified callers.

Operators see every run. Any client that knows the id of an anonymous caller's run may see it. Any other run is visible
to the caller that started it, by tenant and object id. For all others it does not exist.
"""

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from enum import StrEnum

from postern.access import Caller, Check, Guarded, Policy, Refused, Signed, audience_requirement
from postern.catalog import Trigger
from postern.errors import problem
from postern.journal.reading.records import RunRecord
from postern.settings.installation import Installation

OPERATOR_ROLE = "Postern.Operator"


class Standing(StrEnum):
    """The relation of a caller to a run."""

    OPERATOR = "operator"
    OWNER = "owner"
    BEARER = "bearer"  # knows the id of an anonymous caller's run, which is enough
    NONE = "none"


async def known(caller: Awaitable[Caller]) -> Caller:
    """The caller of a request about a run that is not open to all. Without credentials there is no such run: raises
    Problem `unknown-run`, and Refused for an invalid token."""
    try:
        return await caller
    except Refused as refused:
        if refused.failed.name == "credentials":
            raise problem("unknown-run") from None
        raise


def policies_of(triggers: Iterable[Trigger]) -> Iterator[Policy]:
    """Who may call the workflows, and who may send signals to their runs."""
    for trigger in triggers:
        yield trigger.policy
        if trigger.signals is not None:
            yield trigger.signals


def recognise(installation: Installation, policies: Iterable[Policy], caller: Caller) -> None:
    """Accept a verified caller whose token is for this server, or raise Refused. A token that any workflow accepts is
    accepted too, because it identifies whose runs the caller may see."""
    guarded = [policy for policy in policies if isinstance(policy, Guarded)]
    tenants = installation.tenants.union(*(policy.tenants for policy in guarded))
    if caller.tenant_id not in tenants:
        raise _refused("tenant-allowed", tenants, caller.tenant_id, "Your tenant may not use this server.")
    if any(caller.has_audience(policy.audiences, policy.client_id) for policy in guarded):
        return
    ours = audience_requirement(frozenset(installation.audiences), installation.client_id, "POSTERN_AUDIENCE")
    if not ours.passes(caller):
        raise Refused([ours.check(caller)], proved=True)


def is_operator(installation: Installation, caller: Caller) -> bool:
    """Whether the caller is an operator here. A role in a token for another audience is another application's."""
    for_us = caller.has_audience(installation.audiences, installation.client_id)
    ours = caller.tenant_id in installation.tenants and for_us
    return ours and (OPERATOR_ROLE in caller.roles or caller.object_id in installation.operators)


def visible(installation: Installation, triggers: Mapping[str, Trigger], caller: Caller | None) -> frozenset[str]:
    """The names of the workflows that the caller may see: operators all, other callers those that they may call, and
    callers without a token (None) the anonymous ones. Those whose requests have to be signed are for operators."""
    if caller is not None and is_operator(installation, caller):
        return frozenset(triggers)
    return frozenset(name for name, trigger in triggers.items() if allows(trigger.policy, caller))


def allows(policy: Policy, caller: Caller | None) -> bool:
    """What `admit` decides, without the reasons. A caller who has to sign in again first sees the workflow, too."""
    if isinstance(policy, Signed):
        return False  # neither a token nor its absence lets anyone call it
    if not isinstance(policy, Guarded):
        return True
    return caller is not None and all(each.claims or each.passes(caller) for each in policy.requirements)


def is_anonymous(record: RunRecord | None) -> bool:
    """Whether a run is visible to any client that knows its id, with any token or none."""
    return record is not None and record.caller_kind == "anonymous"


def standing(installation: Installation, record: RunRecord | None, caller: Caller) -> Standing:
    """The relation of the caller to the run, which may not exist."""
    if record is None:
        return Standing.NONE
    if is_operator(installation, caller):
        return Standing.OPERATOR
    if is_anonymous(record):
        return Standing.BEARER
    known = bool(caller.tenant_id and caller.object_id)
    own = (caller.tenant_id, caller.object_id) == (record.tenant_id, record.object_id)
    return Standing.OWNER if known and own else Standing.NONE


def _refused(name: str, expected: frozenset[str], found: str, advice: str) -> Refused:
    return Refused([Check(name, False, expected, found, advice)], proved=True)
