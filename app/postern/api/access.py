"""Who may see a run, and who is an operator. Pure decisions over verified callers.

An anonymous caller's run belongs to whoever knows its id. Any other run belongs to who started it, by tenant and
object id, and to operators. To everybody else it is not there.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from postern.access import Caller, Check, Guarded, Policy, Refused, default_scope
from postern.catalog import Trigger
from postern.journal.reading.records import RunRecord
from postern.settings.installation import Installation

OPERATOR_ROLE = "Postern.Operator"


class Standing(StrEnum):
    """What somebody is to a run."""

    OPERATOR = "operator"
    OWNER = "owner"
    BEARER = "bearer"  # of the id of an anonymous caller's run, which is enough
    NOBODY = "nobody"


def recognise(installation: Installation, policies: Iterable[Policy], caller: Caller) -> None:
    """Take a verified caller whose token is for us, or raise Refused. One that any workflow takes shows whose runs one
    may see, so it is taken too."""
    guarded = [policy for policy in policies if isinstance(policy, Guarded)]
    tenants = installation.tenants.union(*(policy.tenants for policy in guarded))
    if caller.tenant_id not in tenants:
        raise _refused("tenant-allowed", tenants, caller.tenant_id, "Your tenant may not use this server.")
    audiences = frozenset(installation.audiences).union(*(policy.audiences for policy in guarded))
    if caller.audience not in audiences:
        ask_for = " or ".join(default_scope(audience) for audience in sorted(installation.audiences))
        advice = f"The token is for another audience. Ask for one with the scope {ask_for}"
        raise _refused("audience", audiences, caller.audience, advice)


def is_operator(installation: Installation, caller: Caller) -> bool:
    """Whether the caller is an operator here. A role in a token for another audience is another application's."""
    ours = caller.tenant_id in installation.tenants and caller.audience in installation.audiences
    return ours and (OPERATOR_ROLE in caller.roles or caller.object_id in installation.operators)


def visible(installation: Installation, triggers: Mapping[str, Trigger], caller: Caller | None) -> frozenset[str]:
    """The names of the workflows that the caller may know of: operators of all, others of those that would let them
    in, who sends no token (None) of the anonymous ones."""
    if caller is not None and is_operator(installation, caller):
        return frozenset(triggers)
    return frozenset(name for name, trigger in triggers.items() if _lets_in(trigger.policy, caller))


def _lets_in(policy: Policy, caller: Caller | None) -> bool:
    """What `admit` decides, without the reasons."""
    if not isinstance(policy, Guarded):
        return True
    return caller is not None and all(requirement.passes(caller) for requirement in policy.requirements)


def is_anybodys(record: RunRecord | None) -> bool:
    """Whether a run is open to whoever knows its id, so that no token is looked at."""
    return record is not None and record.caller_kind == "anonymous"


def standing(installation: Installation, record: RunRecord | None, caller: Caller) -> Standing:
    """What the caller is to the run, which may not be there."""
    if record is None:
        return Standing.NOBODY
    if is_anybodys(record):
        return Standing.BEARER
    if is_operator(installation, caller):
        return Standing.OPERATOR
    known = bool(caller.tenant_id and caller.object_id)
    own = (caller.tenant_id, caller.object_id) == (record.tenant_id, record.object_id)
    return Standing.OWNER if known and own else Standing.NOBODY


def _refused(name: str, expected: frozenset[str], found: str, advice: str) -> Refused:
    return Refused([Check(name, False, expected, found, advice)], proved=True)
