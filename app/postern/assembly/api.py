"""The run API and the documents of the triggers, as a part of the server. It loads no page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from postern.api.local_people import TokenCommand
from postern.api.result_wait import ResultWait
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.foundation import Foundation
from postern.assembly.once import Once
from postern.assembly.part import Part
from postern.journal.reading.readers import SERVER
from postern.journal.run import Run
from postern.triggers.read import Receive
from postern.triggers.reply import Answer, Later

if TYPE_CHECKING:
    from postern.assembly.api_pages import ApiActions


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPart(Part):
    """The run API. `actions` returns what its pages and the console do, and `later` is for the Pipeline."""

    actions: Callable[[], "ApiActions"]
    later: Later


def api_part(base: Foundation, needs: ApiNeeds, local_tokens: TokenCommand | None) -> ApiPart:
    """`/runs`, `/refusals`, `/workflows` with signed URLs, `/connections`, `/findings`, `/revocations`, `/audit`,
    `/access`, `/openapi.json` and `/docs`."""
    waits = ResultWait(partial(base.journal.read, caller=SERVER))
    needs.durable.ended.listeners.append(waits.ended)  # those who wait know at once when a durable run has ended here

    def made() -> "ApiActions":
        from postern.assembly.api_pages import api_actions  # 0.1 s, of which triggers need nothing

        return api_actions(base, needs, waits)

    actions = Once(made)

    def pages() -> Iterable[Route]:
        from postern.assembly.api_pages import api_routes  # the same

        return api_routes(base, needs, actions(), local_tokens)

    async def later(run: Run, receive: Receive) -> Answer:
        return await actions().results.of_trigger(run, receive)

    return ApiPart(later_routes=pages, tasks=(waits.run,), actions=actions, later=later)
