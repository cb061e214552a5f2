"""The decision: whether a revocation refuses a caller. Pure."""

from collections.abc import Iterable, Mapping

from postern.access import Caller, Revoked
from postern.journal.revocations import Kind, Rule

Key = tuple[Kind, str, str]
"""Kind, tenant id ("" for every tenant) and subject."""

Rules = Mapping[Key, Revoked]
"""What is refused. Several revocations of one subject are one rule, the strictest."""


def merged(found: Iterable[Rule]) -> dict[Key, Revoked]:
    """The rules by what they are about."""
    rules: dict[Key, Revoked] = {}
    for rule in found:
        key = (rule.kind, rule.tenant_id, rule.subject)
        known = rules.get(key, Revoked(rule.kind.value, 0.0))
        rules[key] = Revoked(
            rule.kind.value, max(known.not_before, rule.not_before), max(known.bars_until, rule.bars_until)
        )
    return rules


def refusing(rules: Rules, caller: Caller, now: float) -> Revoked | None:
    """Why the caller is refused; None if no rule concerns it. Of several rules it is the one that lasts longest. A
    token that does not say when it was issued counts as issued before any revocation."""
    if not rules or caller.kind == "anonymous":
        return None
    found = [rules[key] for key in _keys_of(caller) if key in rules]
    applying = [each for each in found if _applies(each, caller, now)]
    return max(applying, key=Revoked.retry_at, default=None)


def refusing_since(rules: Rules, tenant_id: str, object_id: str, since: float, now: float) -> Revoked | None:
    """The same for what a person has had since that moment, such as a session or a grant."""
    return refusing(rules, Caller("user", object_id=object_id, tenant_id=tenant_id, issued_at=since), now)


def _keys_of(caller: Caller) -> Iterable[Key]:
    """What a rule about this caller can be about, in this tenant or in every one."""
    named = ((Kind.TOKEN, caller.token_id), (Kind.CALLER, caller.object_id), (Kind.CLIENT, caller.client_id))
    return [(kind, tenant, subject) for kind, subject in named if subject for tenant in (caller.tenant_id, "")]


def _applies(rule: Revoked, caller: Caller, now: float) -> bool:
    return rule.kind == Kind.TOKEN.value or caller.issued_at < rule.not_before or now < rule.bars_until
