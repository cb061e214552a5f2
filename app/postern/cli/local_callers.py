"""Who of the local tenant may call a workflow: for commands to paste, and for the console."""

import shlex
from collections.abc import Callable

from postern.access import Caller, Guarded, checks
from postern.catalog import Trigger
from postern.cli.workspace import OPERATOR
from postern.identity import tenant
from postern.identity.claims import caller_of
from postern.local_tenant import LocalTenant

ANY_CONTEXT = [f"c{number}" for number in range(1, 100)]


def callers(local: LocalTenant) -> Callable[[Trigger], str]:
    """A function that returns the options of `postern token` for a caller who may call a trigger, "" if there is none:
    the operator if possible, then people, then applications. The local tenant signs in with any authentication
    context."""
    here = tenant(local.tenant_id, authority=local.authority)
    names = list(dict.fromkeys([OPERATOR, *local.people, *local.applications]))

    def options(trigger: Trigger) -> str:
        policy = trigger.policy
        if not isinstance(policy, Guarded):
            return ""
        context = getattr(trigger.workflow.access, "auth_context", "")
        for name in names:
            for audience in (None, *sorted(policy.audiences)):
                met = {"acrs": ANY_CONTEXT} if context else {}
                caller = caller_of({**local.claims(name, audience=audience), **met}, here)
                if all(check.passed for check in checks(policy, caller)):
                    other = f" --audience {shlex.quote(audience)}" if audience else ""
                    other += f" --auth-context {shlex.quote(context)}" if context else ""
                    return f"--as {shlex.quote(name)}{other}"
        return ""

    return options


def caller_here(local: LocalTenant) -> Callable[[str, Guarded], Caller | None]:
    """A function that returns whom a token of a person or application of the local tenant names at a policy; None if
    there is no such person. Of the audiences of the policy it is one that lets the caller in, if there is one."""
    here = tenant(local.tenant_id, authority=local.authority)

    def caller(name: str, policy: Guarded) -> Caller | None:
        if name not in local.people and name not in local.applications:
            return None
        audiences = (None, *sorted(policy.audiences))
        found = [caller_of(local.claims(name, audience=audience), here) for audience in audiences]
        return next((each for each in found if all(check.passed for check in checks(policy, each))), found[0])

    return caller
