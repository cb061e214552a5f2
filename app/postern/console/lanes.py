"""A run as rows on an axis of time: its steps with attempts and waits, the calls in them, and the runs of its chain.
Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from postern.console.axis import Axis
from postern.console.charts import backdrop, lane, ruler
from postern.journal.reading.call_tree import Branch, Tree
from postern.journal.reading.records import CallRecord, RunRecord
from postern.journal.reading.step_window import StepWindow
from postern.journal.run import Attempt, State, Step
from postern.plain_text import plain

MOST_CALLS = 50
"""Calls of a timeline that are drawn."""
MOST_RUNS = 60
"""Rows of a chain."""
MOST_INDENTS = 8
BAD = frozenset({State.FAILED, State.TIMED_OUT, State.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Lane:
    """A row. `run_id` is the run that it leads to, "" if none may be seen. `state` is set for runs. `here` marks the
    run of the page."""

    name: str
    note: str
    failed: bool
    depth: int
    attempts: Sequence[Attempt]
    kind: str = ""
    run_id: str = ""
    state: State | None = None
    here: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """Lanes on one axis, as pictures. `left_out` says what is not among them."""

    rows: list[tuple[Lane, Markup, float | None]]
    ruler: Markup
    backdrop: Markup
    left_out: str = ""


def drawn(lanes: Sequence[Lane], left_out: str = "", within: Sequence[Attempt] = ()) -> Drawn:
    """The lanes with their axis, on which the attempts `within` are too."""
    attempts = [*within, *(one for each in lanes for one in each.attempts)]
    axis = Axis.of(moment for one in attempts for moment in (one.started_at, one.ended_at))
    rows = [(each, lane(axis, each.attempts, each.kind), _took(each.attempts)) for each in lanes]
    return Drawn(rows, ruler(axis), backdrop(axis), left_out)


def of_run(record: RunRecord, window: StepWindow, calls: Sequence[CallRecord], links: set[str], now: float) -> Drawn:
    """The timeline of a run: the run itself, the steps of the window, and the calls in them. `links` are the runs that
    the viewer may see."""
    inside: dict[int, list[CallRecord]] = {}
    numbers = {step.number for step in window.steps}
    alone = [call for call in calls if call.step is None]
    shown = [call for call in calls if call.step is None or call.step in numbers]
    for call in shown[:MOST_CALLS]:
        if call.step is not None:
            inside.setdefault(call.step, []).append(call)
    parts: list[tuple[float, list[Lane]]] = [
        (_began(step, record), [of_step(step), *(of_call(call, 1, links) for call in inside.get(step.number, ()))])
        for step in window.steps
    ]
    if not window.after:
        parts += [(call.started_at, [of_call(call, 0, links)]) for call in alone if call in shown[:MOST_CALLS]]
    whole = Lane("The whole run", "", record.state in BAD, 0, [_as_attempt(record, now)], "run")
    more = len(shown) - MOST_CALLS
    left_out = f"{more} more calls are not shown." if more > 0 else ""
    return drawn([whole, *(each for _, rows in sorted(parts, key=lambda part: part[0]) for each in rows)], left_out)


def of_failed(record: RunRecord, window: StepWindow, now: float) -> Drawn | None:
    """The failed steps outside of the window, on the axis of the run."""
    if not window.failed:
        return None
    beyond = "" if window.examined else "Earlier steps were not examined for failures."
    return drawn([of_step(step) for step in window.failed], beyond, [_as_attempt(record, now)])


def of_step(step: Step) -> Lane:
    """A step with its attempts."""
    tries = len(step.attempts)
    error = step.attempts[-1].error if step.attempts and not step.succeeded else ""
    note = ", ".join(each for each in (plain(error), f"{tries} attempts" if tries > 1 else "") if each)
    attempts = [Attempt(each.started_at, each.ended_at, plain(each.error)) for each in step.attempts]
    return Lane(plain(step.name), note, not step.succeeded, 0, attempts)


def of_call(call: CallRecord, depth: int, links: set[str]) -> Lane:
    """A call, which leads to its run if the viewer may see it."""
    by = f"by {plain(', '.join(filter(None, (call.gateway, call.agent))))}" if call.gateway else ""
    if call.requests:
        attempt = Attempt(call.started_at, call.ended_at)
        return Lane(f"↗ {call.requests} further requests", by, False, depth, [attempt], "call", "")
    failed = call.error is not None or (call.status or 0) >= 400
    outcome = plain(call.error or "") if call.error else f"answered {call.status}" if call.status else "no response"
    note = ", ".join(filter(None, (outcome, f"at {plain(call.url)}" if call.url else "", by)))
    attempt = Attempt(call.started_at, call.ended_at, "failed" if failed else "")
    known = call.run_id if call.run_id in links and not call.url else None
    return Lane(f"↗ {plain(call.name)}", note, failed, depth, [attempt], "call", known or "")


def of_chain(
    tree: Tree, page_of: str, may_see: Callable[[RunRecord], bool], now: float
) -> tuple[Drawn | None, set[str]]:
    """The runs of a chain on one axis, None if there is only one; and the ids of those that the viewer may see. Of a
    run that `may_see` forbids, only the call is shown."""
    lanes = list(_nodes(tree, tree.root, None, 0, page_of, may_see, now))
    links = {each.run_id for each in lanes if each.run_id}
    if len(lanes) < 2:
        return None, links
    cut = tree.truncated or len(lanes) > MOST_RUNS
    return drawn(lanes[:MOST_RUNS], "More runs are not shown." if cut else ""), links


def _nodes(
    tree: Tree,
    run: RunRecord,
    call: CallRecord | None,
    depth: int,
    page_of: str,
    may_see: Callable[[RunRecord], bool],
    now: float,
) -> Iterator[Lane]:
    at = min(depth, MOST_INDENTS)
    note = plain(run.error_type or "") if run.state in BAD else ""
    attempt = _as_attempt(run, now)
    yield Lane(
        plain(run.workflow), note, run.state in BAD, at, [attempt], "run", run.id, run.state, here=run.id == page_of
    )
    for branch in tree.branches.get(run.id, ()):
        if branch.run is not None and (branch.run.id == page_of or may_see(branch.run)):
            yield from _nodes(tree, branch.run, branch.call, depth + 1, page_of, may_see, now)
        else:
            yield from _hidden(branch, min(depth + 1, MOST_INDENTS))


def _hidden(branch: Branch, depth: int) -> Iterator[Lane]:
    """A call whose run is elsewhere, or not visible."""
    if branch.call is not None:
        yield of_call(branch.call, depth, set())


def _as_attempt(record: RunRecord, now: float) -> Attempt:
    ended = record.ended_at if record.ended_at is not None else max(now, record.started_at)
    error = plain(record.error_type or record.state.value) if record.state in BAD else ""
    return Attempt(record.started_at, ended, error)


def _began(step: Step, record: RunRecord) -> float:
    return step.attempts[0].started_at if step.attempts else record.started_at


def _took(attempts: Sequence[Attempt]) -> float | None:
    return attempts[-1].ended_at - attempts[0].started_at if attempts else None
