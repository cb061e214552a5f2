"""Which grant a run uses, and what its caller gets if there is none."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from postern.access import Caller
from postern.connections.grants.granted import Granted
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.reasons import REASONS
from postern.connections.grants.store import Grants
from postern.journal.grants import SHARED, grant_name

if TYPE_CHECKING:
    from postern.authoring.context import Context
    from postern.settings import GrantedAuth

BY_OPERATOR = "It is shared: an operator connects it, on the page Connections of the console"
BY_THEMSELF = "The person who started the run connects it, on the page Connections of the console"


class GrantsOfRuns:
    """Gives the sign-in of a run for the entries that people connect. `may_connect(caller, shared)` says whether this
    caller can connect an entry on a page of this server, and `in_progress(run_id)` whether a run has not ended."""

    def __init__(
        self,
        grants: Grants,
        may_connect: Callable[[Caller, bool], bool],
        in_progress: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._grants = grants
        self._may_connect = may_connect
        self._in_progress = in_progress

    def sign_in(self, entry: str, auth: "GrantedAuth", ctx: "Context") -> Granted:
        """The sign-in for one run: with the shared grant, or with the grant of the person that the run acts for. Raises
        NoGrant if it acts for nobody, before anything is sent."""
        name = grant_name(entry)
        owner = SHARED
        if auth.per_user:
            owner = ctx.principal.owner
            if not owner:
                wrong, fix = REASONS[ctx.principal.why]
                raise NoGrant(entry, ctx.principal.why, wrong, fix)
        path = f"/connect/{name}" if self._can_connect(ctx, shared=not auth.per_user) else ""

        def missing(found: NoGrant) -> NoGrant:
            who = "" if path else f". {BY_THEMSELF if auth.per_user else BY_OPERATOR}"
            return NoGrant(entry, found.reason, found.wrong, found.fix + who, path)

        of_run = ctx.run_id if auth.per_user else ""
        return Granted(entry, name, owner, self._grants, missing, auth.preset.domains, of_run, self._in_progress)

    def _can_connect(self, ctx: "Context", *, shared: bool) -> bool:
        """Whether the one who called the run is a person who can connect it: a chain of calls has no person."""
        return ctx.caller.kind == "user" and ctx.chain is None and self._may_connect(ctx.caller, shared)
