"""Whether a run may act on behalf of its caller, decided before anything is sent. Pure.

A workflow that names such a connection in its options is checked by the same rules when it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from postern.access import GUID, Access, Anonymous, Caller, Guarded, Policy, Principal, StartedBy


class Wrong(NamedTuple):
    """A predicate of the entry, and the fix. `reason` is a code if the run is to blame, and not its workflow or the
    entry: its caller then gets 424 `consent-required`."""

    text: str
    fix: str
    reason: str = ""


_OF = "is used on behalf of the caller"
_PERSON = "Caller: let a person call this workflow directly, with a token of their own"

PEOPLE_ONLY = Wrong(
    f"{_OF}, but applications may call this workflow, and Entra exchanges tokens of people only",
    "Author: write apps=False in the access mode of the workflow",
)
NOT_ANONYMOUS = Wrong(
    f"{_OF}, but the callers of this workflow are anonymous",
    "Author: give the workflow tenant_users(apps=False) or specific_users(…, apps=False)",
)
OTHER_TENANT = Wrong(
    f"{_OF}, but the caller's token is of another tenant than POSTERN_TENANT_ID",
    "Author: let only the own tenant call the workflow: leave out tenants=",
)
NO_TOKEN = Wrong(
    f"{_OF}, with the token that the caller sent, and a durable run or one that was resubmitted has none",
    "Caller: call the workflow again, with a new token",
    "resubmitted",
)
NO_PERSON = Wrong(f"{_OF}, and no person called this run", _PERSON, "no-person")
NOBODY: Mapping[str, Wrong] = {
    "anonymous": NOT_ANONYMOUS,
    "application": Wrong(f"{_OF}, and the caller of this run is an application", _PERSON, "application"),
    "called-by-run": Wrong(
        f"{_OF}, and this run was called by another run, as Postern's own application", _PERSON, "called-by-run"
    ),
    **dict.fromkeys(("no-person", "schedule", "on-failure", "finding"), NO_PERSON),
}
"""By the code of `access.principal` that says why a run acts for nobody. The other one is that it was resubmitted."""


@dataclass(frozen=True, slots=True)
class Application:
    """The application of an entry, and what the settings say of Postern's own: `audiences` are those of the
    settings."""

    tenant_id: str
    client_id: str
    own_client_id: str | None
    audiences: tuple[str, ...] = ()

    def takes(self, audience: str) -> bool:
        """Whether a token for this audience is one for the application. An Application ID URI other than
        `api://CLIENT-ID` says nothing by itself: it is taken if it is in the settings and the application is Postern's
        own."""
        named = audience.removeprefix("api://").lower()
        if GUID.fullmatch(named):
            return named == self.client_id
        return self.own_client_id in (None, self.client_id) and audience in self.audiences


def wrong_with_workflow(access: Access, policy: Policy, application: Application) -> Wrong | None:
    """Why no run of a workflow can act on behalf of its caller; None if runs can."""
    if not isinstance(policy, Guarded) or isinstance(access, Anonymous):
        return NOT_ANONYMOUS
    if access.apps:
        return PEOPLE_ONLY
    accepted = policy.audiences | ({policy.client_id} if policy.client_id else set())
    if not any(map(application.takes, accepted)):
        return _other_audience(" or ".join(sorted(accepted)), application)
    if application.tenant_id not in policy.tenants:
        return OTHER_TENANT
    return None


def wrong_with_run(
    access: Access | None, caller: Caller, principal: Principal, application: Application
) -> Wrong | None:
    """Why a run cannot act on behalf of its caller; None if it can. `access` is that of its workflow, None if the run
    has no token."""
    if not principal.owner:
        return NOBODY.get(principal.why, NO_TOKEN)
    if access is None or principal.started_by is not StartedBy.REQUEST:
        return NO_TOKEN
    if isinstance(access, Anonymous):
        return NOT_ANONYMOUS
    if access.apps:
        return PEOPLE_ONLY
    if not application.takes(caller.audience):
        return _other_audience(caller.audience, application)
    return OTHER_TENANT if caller.tenant_id != application.tenant_id else None


def _other_audience(audience: str, application: Application) -> Wrong:
    return Wrong(
        f"{_OF}, but the token is for the audience {audience}, and Entra exchanges tokens for "
        f"the application {application.client_id} only",
        f"Operator: write the client_id of the application that callers' tokens are for, or name its audience "
        f"(api://{application.client_id}, or the client id) in POSTERN_AUDIENCE",
    )
