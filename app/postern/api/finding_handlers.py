"""`/findings`: odd activity of callers. For operators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from pydantic_core import to_json
from starlette.requests import Request

from postern.access import Caller
from postern.api.access import is_operator
from postern.api.departure import Page
from postern.api.finding_actions import FindingActions, finding_document, finding_json
from postern.api.handlers import holder_for
from postern.api.list_query import finding_page, no_parameters
from postern.api.run_actions import Read
from postern.errors import problem
from postern.ids import is_id
from postern.journal.finding import FindingState
from postern.journal.findings import find
from postern.journal.reading.findings import list_findings
from postern.settings.installation import Installation
from postern.triggers.reply import Answer, json_reply


@dataclass(frozen=True, slots=True)
class FindingHandlers:
    """The endpoints. `caller` verifies the token of a request, and `read` is the journal's."""

    installation: Installation
    caller: Callable[[Request], Awaitable[Caller]]
    read: Read
    actions: FindingActions

    @property
    def pages(self) -> tuple[tuple[str, str, Page], ...]:
        """Where they are."""
        return (
            ("GET", "/findings", self.index),
            ("GET", "/findings/{id}", self.one),
            ("POST", "/findings/{id}/acknowledge", self.acknowledge),
        )

    async def index(self, request: Request) -> Answer:
        """A page of findings, newest first."""
        caller = await self._operator(request)
        filters, cursor, limit = finding_page(request.scope["query_string"])
        query = partial(list_findings, filters=filters, cursor=cursor, limit=limit)
        page = await self.read(query, holder_for(request, caller))
        return json_reply(200, to_json({"findings": list(map(finding_document, page.items)), "next": page.next}))

    async def one(self, request: Request) -> Answer:
        """One finding."""
        caller = await self._operator(request)
        no_parameters(request.scope["query_string"])
        finding_id = request.path_params["id"]
        found = None
        if is_id(finding_id):
            found = await self.read(partial(find, finding_id=finding_id), holder_for(request, caller))
        if found is None:
            raise problem("unknown-finding")
        return json_reply(200, finding_json(found))

    async def acknowledge(self, request: Request) -> Answer:
        """Note that an operator has looked at it."""
        caller = await self._operator(request)
        no_parameters(request.scope["query_string"])
        found = await self.actions.mark(request.path_params["id"], FindingState.ACKNOWLEDGED, caller)
        return json_reply(200, finding_json(found))

    async def _operator(self, request: Request) -> Caller:
        caller = await self.caller(request)
        if not is_operator(self.installation, caller):
            raise problem("forbidden")
        return caller
