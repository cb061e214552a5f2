"""What a request to a trigger passes beside the access decision. `assembly/` fills it in; each field is None where the
settings and the workflows ask for nothing of that kind, so that a plain request does no more than look.

A function may put header fields for the response into `scope[ADDED]`, a tuple of pairs. Refusals get them too.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVarTuple

from postern.access import ANYONE, OPEN, Caller, admit
from postern.catalog import Trigger
from postern.triggers.reply import Answer
from postern.triggers.secure_transport import Scope

ADDED = "postern.headers"


@dataclass(frozen=True, slots=True)
class Gate:
    """Each function raises Refused or Problem to turn the request away.

    - `preflight` answers an OPTIONS request of a browser for another origin, before anything else; None if it is an
      ordinary request.
    - `reach` is called with each request of a workflow that has networks or origins, before its caller is identified.
    - `before` is called with each request of a trigger then: rates of addresses.
    - `sender` returns the caller of a request for a policy that is `Signed`.
    - `after` is called when the caller was admitted: rates of callers.
    - `body` is called with the raw body, for a policy that is `Signed`.
    - `admitted` is told of each request that goes on to start a run: caller, name of the workflow, address of the
      client, request id. It only takes note.
    - `answered` is told of the status of each response. It only takes note.
    """

    preflight: Callable[[Scope], Answer | None] | None = None
    reach: Callable[[Trigger, Scope], None] | None = None
    before: Callable[[Trigger, Scope], None] | None = None
    sender: Callable[[Trigger, Scope], Awaitable[Caller]] | None = None
    after: Callable[[Trigger, Caller, Scope], None] | None = None
    body: Callable[[Trigger, Caller, Scope, bytes], Awaitable[None]] | None = None
    admitted: Callable[[Caller, str, str, str], None] | None = None
    answered: Callable[[Scope, int], None] | None = None

    def passes(self, trigger: Trigger, caller: Caller, scope: Scope) -> None:
        """The same steps as of a request, in their order up to its body, for one whose caller is known and whose body
        cannot be made. Raises Refused and Problem."""
        if self.reach is not None:
            self.reach(trigger, scope)
        if self.before is not None:
            self.before(trigger, scope)
        caller = ANYONE if trigger.policy is OPEN else caller
        admit(trigger.policy, caller)
        if self.after is not None:
            self.after(trigger, caller, scope)


OPEN_GATE = Gate()
"""Nothing beside the access decision."""


def add_header(scope: Scope, name: bytes, value: bytes) -> None:
    """Add a header field to the response of this request, whatever it will be."""
    scope[ADDED] = (*scope.get(ADDED, ()), (name, value))


Given = TypeVarTuple("Given")


def in_order(*checks: Callable[[*Given], None] | None) -> Callable[[*Given], None] | None:
    """One function that makes all these checks in their order; None if there are none."""
    made = [check for check in checks if check is not None]
    if len(made) < 2:
        return made[0] if made else None

    def all_of(*given: *Given) -> None:
        for check in made:
            check(*given)

    return all_of
