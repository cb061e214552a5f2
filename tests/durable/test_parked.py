"""Which parked runs go on by themselves: those whose code or key is there, and never those of a restored backup."""

from pathlib import Path

from postern import anonymous, workflow
from postern.access import bind
from postern.catalog import Trigger
from postern.durable.engine import may_go_on
from postern.durable.works import digest_of
from postern.journal.durable_runs import Parked, Reason
from tests.table import table


@workflow(access=anonymous(), durable=True)
async def work(ctx) -> None:
    """Nothing."""


def served(sha256: str) -> Trigger:
    policy = bind(work.access, people={}, tenants=[], audiences=[])
    return Trigger(work, policy, Path("work.py"), sha256=sha256)


SAME, OTHER = served("1"), served("2")


@table(
    ("reason", "trigger", "keys", "goes_on"),
    [
        (Reason.MISSING, None, True, False),
        (Reason.MISSING, SAME, True, False),
        (Reason.MISSING, OTHER, False, True),
        (Reason.CHANGED, None, True, False),
        (Reason.CHANGED, SAME, True, False),
        (Reason.CHANGED, OTHER, False, True),
        (Reason.KEY, OTHER, False, False),
        (Reason.KEY, SAME, True, True),
        *(
            (reason, trigger, True, False)
            for reason in (Reason.RESTORED, Reason.LOST, Reason.INTERNAL)
            for trigger in (SAME, OTHER)
        ),
    ],
)
def test_a_parked_run_goes_on(reason: Reason, trigger: Trigger | None, keys: bool, goes_on: bool):
    run = Parked("run-1", "work", reason.value, digest_of(SAME))
    triggers = {} if trigger is None else {"work": trigger}
    assert may_go_on([run], triggers, keys=keys) == (["run-1"] if goes_on else [])
