"""How runs that go on are handed to DBOS, which calls `DurableEngine.execute` for each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from postern.journal.durable_ends import AFTER_LAST
from postern.journal.durable_runs import Claimed

if TYPE_CHECKING:
    from postern.durable.dbos_engine import DbosEngine


async def hand_over(dbos: "DbosEngine", claimed: Sequence[Claimed], left: set[str]) -> None:
    """Run these runs again: from their last checkpoints, or from where they were resumed. `left` are the ids of those
    that are not handed over yet, also if an error is raised."""
    resumed = [each for each in claimed if each.repeat_from not in (None, AFTER_LAST)]
    left |= {each.run_id for each in claimed}
    if again := [each.run_id for each in claimed if each not in resumed]:
        left -= set(again) - set(await dbos.go_on(again))
    for each in resumed:
        if await dbos.repeat(each.run_id, each.repeat_from or 0):
            left.discard(each.run_id)
