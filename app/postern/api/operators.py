"""Endpoints that are for operators only."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from postern.access import Caller
from postern.api.access import is_operator, recognise
from postern.catalog import Snapshot
from postern.errors import problem
from postern.settings.installation import Installation
from postern.triggers.secure_transport import Scope


@dataclass(frozen=True, slots=True)
class Operators:
    """Called with a request, it returns the operator who sends it. Raises Refused, and Problem `forbidden` among
    others."""

    installation: Installation
    identify: Callable[[Scope], Awaitable[Caller]]
    snapshot: Callable[[], Snapshot]

    async def __call__(self, request: Request) -> Caller:
        """The operator, by a token for this server."""
        caller = await self.identify(request.scope)
        recognise(self.installation, (trigger.policy for trigger in self.snapshot().triggers.values()), caller)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller
