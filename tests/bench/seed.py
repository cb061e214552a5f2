"""Fill a database with plausible runs, and measure how long its lists take: python -m tests.bench.seed URL --runs N."""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine, func, insert, select

from postern.ids import id_at
from postern.journal.body_form import Form
from postern.journal.database.engine import migrate, open_engine
from postern.journal.reading.filters import ANONYMOUS, RunFilter
from postern.journal.reading.queries import find_run, list_runs
from postern.journal.run import State
from postern.journal.schema import runs, steps

BATCH = 20_000
DAYS = 30
WORKFLOWS = [f"{verb}-{noun}" for verb in ("book", "find", "send", "sync") for noun in ("order", "room", "leave")]
STATES = (
    (State.SUCCEEDED, 200, 930),
    (State.FAILED, 500, 50),
    (State.TIMED_OUT, 504, 10),
    (State.CANCELLED, 409, 5),
    (State.INTERRUPTED, None, 5),
)
TENANT = "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a"
WORDS = ["alpha", "beta", "order", "invoice", "room", "leave", "Ada", "Lisa", "urgent", "north", "blue", "pending"]
console = Console(highlight=False)


def main() -> int:
    """Seed, measure, or both."""
    options = _options()
    engine = open_database(options.url)
    if options.runs:
        seed(engine, options.runs)
    engine.dispose()
    if options.measure:
        reading = open_engine(options.url, writing=False)
        measure(reading, options.rounds)
        reading.dispose()
    return 0


def open_database(url: str) -> Engine:
    """The database at a URL like that of POSTERN_DATABASE_URL, with its tables."""
    engine = open_engine(url, writing=True)
    migrate(engine)
    return engine


def seed(engine: Engine, number: int, chance: random.Random | None = None) -> None:
    """Add runs of the last DAYS days, in order of time."""
    chance = chance or random.Random(7)
    end = time.time()
    rows = _rows(number, end - DAYS * 86400, end, chance)
    shown = (TextColumn("seeding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console) as progress:
        task = progress.add_task("runs", total=number)
        while batch := list(islice(rows, BATCH)):
            with engine.begin() as connection:
                connection.execute(insert(runs), batch)
                if nested := [step for row in batch for step in _steps(row, chance)]:
                    connection.execute(insert(steps), nested)
            progress.advance(task, len(batch))


def measure(engine: Engine, rounds: int) -> None:
    """Print the median and the 99th percentile of each of a fixed set of lists, first pages and later ones."""
    with engine.connect() as connection:
        total = connection.execute(select(func.count()).select_from(runs)).scalar_one()
        newest = connection.execute(select(func.max(runs.c.id))).scalar_one()
    console.print(f"{total} runs; milliseconds for a page of 50, one page after another")
    console.print(f"{'list':32} {'p50':>7} {'p99':>7} {'most':>7}   runs a page")
    for name, received in _lists(engine).items():
        times, found = [], 0
        cursor = None
        for _ in range(rounds):
            with engine.connect() as connection:
                began = time.perf_counter()
                page = list_runs(connection, received, cursor)
                times.append((time.perf_counter() - began) * 1000)
            cursor = page.next
            found += len(page.items)
        _print(name, times, f"{found / rounds:11.1f}")
    times = []
    for _ in range(rounds):
        with engine.connect() as connection:
            began = time.perf_counter()
            find_run(connection, newest)
            times.append((time.perf_counter() - began) * 1000)
    _print("one run", times)


def _print(name: str, times: list[float], more: str = "") -> None:
    percentiles = quantiles(times, n=100, method="inclusive")
    console.print(f"{name:32} {percentiles[49]:7.2f} {percentiles[98]:7.2f} {max(times):7.2f}   {more}")


def _lists(engine: Engine) -> dict[str, RunFilter]:
    """The lists that are measured: each filter alone, and combinations whose conditions seldom meet."""
    with engine.connect() as connection:
        row = connection.execute(select(runs).where(runs.c.parent_run_id.is_not(None)).limit(1)).first()
        caller = connection.execute(select(runs.c.object_id).where(runs.c.object_id.is_not(None)).limit(1)).scalar()
    now, parent = time.time(), row.parent_run_id if row else None
    workflow = WORKFLOWS[3]
    since, until = now - 20 * 86400, now - 19 * 86400
    return {
        "all": RunFilter(),
        "workflow": RunFilter(workflow=workflow),
        "state=Failed": RunFilter(state=State.FAILED),
        "state=Succeeded": RunFilter(state=State.SUCCEEDED),
        "state=Running (none)": RunFilter(state=State.RUNNING),
        "caller": RunFilter(caller=caller),
        "caller=anonymous": RunFilter(caller=ANONYMOUS),
        "parent": RunFilter(parent=parent),
        "a day": RunFilter(since=since, until=until),
        "own": RunFilter(owner=(TENANT, caller or "")),
        "text (frequent)": RunFilter(text="urgent"),
        "text (nowhere)": RunFilter(text="nowhere to be found"),
        "workflow, state=Failed": RunFilter(workflow=workflow, state=State.FAILED),
        "workflow, anonymous": RunFilter(workflow=workflow, caller=ANONYMOUS),
        "workflow, a day": RunFilter(workflow=workflow, since=since, until=until),
        "workflow, text (nowhere)": RunFilter(workflow=workflow, text="nowhere to be found"),
        "own, Failed, text (nowhere)": RunFilter(
            owner=(TENANT, caller or ""), state=State.FAILED, text="nowhere to be found"
        ),
        "anonymous, TimedOut": RunFilter(caller=ANONYMOUS, state=State.TIMED_OUT),
        "everything": RunFilter(
            workflow=workflow,
            state=State.SUCCEEDED,
            caller=ANONYMOUS,
            since=since,
            until=until,
            text="nowhere to be found",
        ),
    }


def _rows(number: int, begin: float, end: float, chance: random.Random) -> Iterator[dict[str, Any]]:
    callers = [(str(id_at(n)), f"Person {n}") for n in range(1, 400)]
    states = [each for each in STATES for _ in range(each[2])]
    weights = [1 / (n + 1) for n in range(len(WORKFLOWS))]
    workflows = chance.choices(WORKFLOWS, weights, k=5000)
    before = ""
    for n in range(number):
        started = begin + (end - begin) * n / number
        state, status, _ = chance.choice(states)
        id_ = _id(started, chance)
        object_id, name = chance.choice(callers) if chance.random() < 0.7 else (None, None)
        failed = state is State.FAILED
        yield {
            "id": id_,
            "workflow": chance.choice(workflows),
            "state": state.value,
            "status": status,
            "caller_kind": "user" if object_id else "anonymous",
            "object_id": object_id,
            "tenant_id": TENANT if object_id else None,
            "client_id": object_id,
            "caller_name": name,
            "client_address": "192.0.2.7",
            "started_at": started,
            "ended_at": started + chance.random(),
            "request": None,
            "inputs": _body(chance),
            "inputs_form": Form.JSON.value,
            "outputs": None if state is State.INTERRUPTED else _body(chance),
            "outputs_form": None if state is State.INTERRUPTED else Form.JSON.value,
            "reply_headers": None,
            "error_type": "ValueError" if failed else None,
            "error_message": "no such order" if failed else None,
            "error_shown": 0,
            "parent_run_id": before if before and chance.random() < 0.05 else None,
            "resubmitted_from": None,
            "trace_id": id_.replace("-", ""),
            "node": "seed",
            "cancel_requested_at": None,
        }
        before = id_


def _steps(row: dict[str, Any], chance: random.Random) -> list[dict[str, Any]]:
    if chance.random() > 0.02:
        return []
    attempts = json.dumps([[row["started_at"], row["ended_at"], ""]])
    return [{"run_id": row["id"], "number": 1, "name": "fetch", "succeeded": 1, "attempts": attempts}]


def _id(moment: float, chance: random.Random) -> str:
    digits = f"{chance.getrandbits(72):018x}"
    return f"{id_at(moment)[:15]}{digits[:3]}-a{digits[3:6]}-{digits[6:18]}"


def _body(chance: random.Random) -> str:
    words = " ".join(chance.choices(WORDS, k=chance.randint(3, 40)))
    return json.dumps({"id": chance.getrandbits(40), "note": words, "tags": ["a", "b"]})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seed", description=__doc__)
    parser.add_argument("url", help="sqlite:///FILE or postgresql://...")
    parser.add_argument("--runs", type=int, default=0, help="how many runs to add")
    parser.add_argument("--measure", action="store_true", help="time a fixed set of lists")
    parser.add_argument("--rounds", type=int, default=200, help="pages of each list to time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
