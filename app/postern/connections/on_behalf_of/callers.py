"""The tokens of the callers of the runs in progress, and the sign-in of a run on behalf of its caller.

No workflow's object leads to a token: a run is looked up here by its id.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postern.access import Access, Caller
from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.on_behalf_of.caller_token import CallerToken, forget
from postern.connections.on_behalf_of.rules import NO_TOKEN, Application, wrong_with_run
from postern.connections.on_behalf_of.sign_in import OnBehalfOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from postern.authoring.context import Context
    from postern.connections.auth.sign_in import SignIn
    from postern.connections.auth.sign_in_context import SignInContext
    from postern.settings import OnBehalfOfAuth, Settings


@dataclass(frozen=True, slots=True)
class _Held:
    """What a run holds: the access mode of its workflow, its caller, and that caller's token."""

    access: Access
    caller: Caller
    token: CallerToken


class Callers:
    """The callers of the runs in progress. `around` is what signing in needs, made when it is first used."""

    def __init__(self, settings: "Settings", around: "Callable[[], SignInContext]") -> None:
        self._settings = settings
        self._around = around
        self._held: dict[str, _Held] = {}
        self._entries: dict[tuple[str, OnBehalfOfAuth], OnBehalfOf] = {}

    def begins(self, run_id: str, access: Access, caller: Caller, token: CallerToken) -> None:
        """Hold the token of this caller's run with this access mode, until the run has ended."""
        self._held[run_id] = _Held(access, caller, token)

    def ended(self, run_id: str) -> None:
        """The run has ended, whatever its code still does. It may be repeated."""
        held = self._held.pop(run_id, None)
        if held is not None:
            forget(held.token)

    def revoked(self, refuses: "Callable[[Caller], bool]") -> None:
        """Forget the tokens of callers whose access has ended, and all that were exchanged: of those it is not known
        whose they are."""
        for held in self._held.values():
            if refuses(held.caller):
                forget(held.token)
        for shared in self._entries.values():
            shared.forget()

    @property
    def in_progress(self) -> int:
        """How many runs hold a token."""
        return len(self._held)

    def sign_in(self, entry: str, auth: "OnBehalfOfAuth", ctx: "Context") -> "SignIn":
        """The sign-in of a run for an entry. Raises NoGrant, and ConnectionFault if the workflow or the entry has to
        be corrected."""
        held = self._held.get(ctx.run_id)
        application = application_of(auth, self._settings)
        wrong = wrong_with_run(held.access if held else None, ctx.caller, ctx.principal, application)
        if wrong is not None and wrong.reason:
            raise NoGrant(entry, wrong.reason, wrong.text, wrong.fix)
        if wrong is not None or held is None:
            wrong = wrong or NO_TOKEN
            raise ConnectionFault(entry, wrong.text, wrong.fix)
        return self.shared(entry, auth).of_caller(held.token)

    def shared(self, entry: str, auth: "OnBehalfOfAuth") -> OnBehalfOf:
        """What the runs of an entry share."""
        known = self._entries.get((entry, auth))
        if known is None:
            known = self._entries[entry, auth] = OnBehalfOf(entry, auth, self._around())
        return known

    async def aclose(self) -> None:
        """Cancel exchanges in progress, and forget the tokens."""
        for shared in self._entries.values():
            await shared.aclose()


def application_of(auth: "OnBehalfOfAuth", settings: "Settings") -> Application:
    """The application of an entry."""
    return Application(
        settings.tenant_id or "",
        auth.client_id or settings.client_id or "",
        settings.client_id,
        settings.audience,
    )
