"""Workflows whose runs can never have the grant that they use. Pure; `postern check` prints them."""

from collections.abc import Iterable

from postern.access import Guarded
from postern.catalog import Trigger
from postern.settings import GrantedAuth, Settings


def out_of_reach(triggers: Iterable[Trigger], settings: Settings) -> list[str]:
    """One text for each connection that a workflow declares and where each person has a grant of their own, if its
    callers are never people who can connect it. No access mode admits applications only."""
    return [
        f"{trigger.file}:{trigger.workflow.line}: {trigger.workflow.name} declares the connection {name}, where each "
        f"person has a grant of their own, and {why}, or leave out per_user, so that all runs share one grant"
        for trigger in sorted(triggers, key=lambda trigger: trigger.workflow.name)
        if (why := _why(trigger, settings.tenant_id))
        for name in trigger.workflow.connections or ()
        if (found := settings.connections.get(name)) and isinstance(found.auth, GrantedAuth) and found.auth.per_user
    ]


def _why(trigger: Trigger, tenant_id: str | None) -> str:
    """Why no caller has a grant, and the fix; "" if callers may have one."""
    policy = trigger.policy
    if not isinstance(policy, Guarded):
        return "its callers are anonymous: no run of it has one. Give it tenant_users() or specific_users(…)"
    if tenant_id not in policy.tenants:
        return "its tenants= leaves out that of POSTERN_TENANT_ID, where people connect it. Add that tenant"
    return ""
