"""Refusals: requests that were rejected, recorded with the checks of their tokens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postern.assembly.foundation import Foundation
from postern.assembly.outside import NETWORK
from postern.assembly.part import Part
from postern.identity import Examined, Identity, examine
from postern.journal.refusal import Refusal
from postern.journal.refusals import Examine, Refusals, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalsPart(Part):
    """Records refusals. `take` takes one, and returns whether it is to be logged."""

    take: Callable[[Refusal], bool]


def refusals_part(base: Foundation, report: Report) -> RefusalsPart:
    """Tokens of rejected requests are examined after the reply. `report` gets what was counted."""
    refusals = Refusals(base.journal.write, examiner(base.identity.identity), base.log, report=report)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        yield
        await refusals.aclose()

    def noted(refusal: Refusal) -> bool:
        base.outside.refused(refusal)
        return refusals.take(refusal)

    take = refusals.take if base.outside is NETWORK else noted

    return RefusalsPart(take=take, life=life, tasks=(refusals.run,), state={"refused": take})


def examiner(identity: Identity) -> Examine:
    """Examines the token of a rejected request, with the current keys and tenants."""

    async def examine_refusal(refusal: Refusal) -> Examined | None:
        if refusal.policy is None:
            return None
        return await examine(identity, refusal.headers, refusal.policy, proved=refusal.proved)

    return examine_refusal
