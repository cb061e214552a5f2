"""Some of the steps of a run: those after a step, and failed ones wherever they are. It reads a bounded number of rows,
however many steps the run has."""

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from postern.journal.reading.records import step_record
from postern.journal.run import Step
from postern.journal.schema import steps

MOST_STEPS = 50
MOST_FAILED = 20
"""Failed steps beside those of the window: the last ones, because they explain the end of the run."""
MOST_EXAMINED = 20_000
"""Steps that are examined for failures: the last ones of the run."""


@dataclass(frozen=True, slots=True)
class StepWindow:
    """`steps` come after the step `after`, in order, and `more` follow. `failed` are failed ones outside of the window.
    `last` is the run's last step, None if it has none. `examined` is whether all steps were examined for failures."""

    after: int
    steps: tuple[Step, ...]
    more: bool
    failed: tuple[Step, ...]
    last: Step | None
    examined: bool


def step_window(connection: Connection, run_id: str, after: int = 0, most: int = MOST_STEPS) -> StepWindow:
    """At most `most` steps of a run, after the step of the number `after`."""
    of = steps.c.run_id == run_id
    last = connection.execute(select(steps).where(of).order_by(steps.c.number.desc()).limit(1)).one_or_none()
    if last is None:
        return StepWindow(after, (), more=False, failed=(), last=None, examined=True)
    window = select(steps).where(of, steps.c.number > after).order_by(steps.c.number).limit(most + 1)
    found = tuple(map(step_record, connection.execute(window)))
    shown, more = found[:most], len(found) > most
    failed: tuple[Step, ...] = ()
    if more or after:
        outside = or_(steps.c.number <= after, steps.c.number > (shown[-1].number if shown else after))
        near_the_end = steps.c.number > last.number - MOST_EXAMINED
        chosen = select(steps).where(of, near_the_end, outside, steps.c.succeeded == 0)
        newest = connection.execute(chosen.order_by(steps.c.number.desc()).limit(MOST_FAILED)).all()
        failed = tuple(map(step_record, reversed(newest)))
    return StepWindow(after, shown, more, failed, step_record(last), examined=last.number <= MOST_EXAMINED)
