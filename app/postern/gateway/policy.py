"""Who may be an agent of a gateway: applications with the app role that are on the gateway's own list.

The role alone would let any agent take the traffic of another site.
"""

from collections.abc import Callable, Iterable

from postern.access import Caller, Check, Guarded, audience_requirement
from postern.access.policy import Requirement

ROLE = "Postern.Gateway"
"""An app role of Postern's app registration, for applications."""

APPLICATIONS = "applications-only"
ORIGIN = "origin"
"""The names of checks that no trigger has."""


def policy_of(
    gateway: str,
    agents: Iterable[str],
    *,
    tenants: Iterable[str],
    audiences: Iterable[str],
    client_id: str = "",
) -> Guarded:
    """The policy of this gateway. `agents` are object ids, as the settings list them."""
    listed, allowed, ours = frozenset(agents), frozenset(tenants), frozenset(audiences)
    return Guarded(
        mode="gateway",
        tenants=allowed,
        audiences=ours,
        client_id=client_id,
        requirements=(
            _requirement(
                "tenant-allowed",
                lambda caller: caller.tenant_id in allowed,
                allowed,
                lambda caller: caller.tenant_id,
                "Your tenant may not use this server.",
            ),
            audience_requirement(ours, client_id, "POSTERN_AUDIENCE"),
            _requirement(
                APPLICATIONS,
                lambda caller: caller.kind == "application",
                "application",
                lambda caller: caller.kind,
                "Agents of gateways are applications: sign in as the agent's own registration or managed identity.",
            ),
            _requirement(
                "role",
                lambda caller: ROLE in caller.roles,
                frozenset({ROLE}),
                lambda caller: caller.roles,
                f"The token lacks the app role {ROLE}. Assign it to the agent in Entra, then request a new token.",
            ),
            _requirement(
                "listed",
                lambda caller: caller.object_id in listed,
                listed,
                lambda caller: caller.object_id,
                f"This object id is not in agents of [gateways.{gateway}].",
                hint=f"If it is an agent of this site, add its object id to agents of [gateways.{gateway}].",
            ),
        ),
    )


def no_origin(found: str) -> Check:
    """The failed check of a request that a page in a browser sent."""
    return Check(ORIGIN, False, "no Origin field", found, hint="Agents send none: a browser sent the request")


def _requirement(
    name: str,
    passes: Callable[[Caller], bool],
    expected: object,
    found: Callable[[Caller], object],
    advice: str,
    hint: str = "",
) -> Requirement:
    return Requirement(name, passes, expected, found, lambda _: advice, lambda _: hint)
