"""How runs that were claimed in the journal are handed to DBOS, which calls `DurableEngine.execute` for each."""

from collections.abc import Sequence

from postern.durable.dbos_engine import DbosEngine
from postern.journal.durable_ends import AFTER_LAST
from postern.journal.durable_runs import Claimed


async def hand_over(dbos: DbosEngine, claimed: Sequence[Claimed]) -> None:
    """Start these runs, or run them again: from their last checkpoints, or from where they were resumed."""
    resumed = [each for each in claimed if each.repeat_from not in (None, AFTER_LAST)]
    for each in claimed:
        if each.attempt == 1 and each not in resumed:
            await dbos.begin(each.run_id)
    if again := [each.run_id for each in claimed if each.attempt > 1 and each not in resumed]:
        await dbos.go_on(again)
    for each in resumed:
        await dbos.repeat(each.run_id, each.repeat_from or 0)
