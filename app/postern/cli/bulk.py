"""Many runs at once: which they are, a preview, and one after the other at a rate."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from postern.cli.api_client import Api, Listing, Record, Reply, problem_text
from postern.cli.terminal import err, out, plain, program, stop
from postern.cli.time_arguments import to_the_second
from postern.settings.security import Rate

MOST_EXAMINED = 100_000
"""Runs that are looked at to find those that fit."""
LONGEST_PAUSE = 60.0
"""Seconds that the server's Retry-After is followed."""
MOST_ATTEMPTS = 20
"""Requests for one run, if the server asks to come again."""
NOT_THIS = frozenset({404, 409, 422})
"""Statuses that concern this run only: the others go on."""


class Action(NamedTuple):
    """What is done with runs. `check` is its name in the API, `done` and `not_done` are for sentences, and `headers`
    are those of the request for a run."""

    check: str
    noun: str
    done: str
    headers: Callable[[Record], Mapping[str, str]]
    body: Record | None = None


@dataclass
class Plan:
    """The runs that are wanted, the oldest first, and those that are left out: `already` of them because they were
    resubmitted, the others by workflow and reason. `more` says that the limit left out others."""

    runs: list[Record] = field(default_factory=list)
    already: int = 0
    cannot: Counter[tuple[str, str]] = field(default_factory=Counter)
    more: bool = False


@dataclass
class Progress:
    """How far it came: the runs that are done with what the server sent, and those that could not be, with why."""

    done: list[tuple[Record, Record]] = field(default_factory=list)
    failed: list[tuple[Record, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many runs were tried."""
        return len(self.done) + len(self.failed)


async def plan_of(api: Api, query: Mapping[str, str | None], limit: int, action: Action, *, again: bool) -> Plan:
    """The newest `limit` runs that fit the query and can be done. Those that were resubmitted already are left out,
    unless `again`."""
    plan = Plan()
    async for page in Listing(api, "runs", {**query, "check": action.check}, MOST_EXAMINED, time="started_at"):
        for run in page:
            if run.get("resubmitted_as") and not again:
                plan.already += 1
            elif why := run.get(f"cannot_{action.check}"):
                plan.cannot[str(run.get("workflow")), str(why)] += 1
            elif len(plan.runs) < limit:
                plan.runs.insert(0, run)
            else:
                plan.more = True
        if plan.more:
            break
    return plan


def show(plan: Plan, limit: int) -> None:
    """Print the preview: how many of which workflow, and what is left out, with the reasons."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("workflow", "runs", "oldest (UTC)", "newest (UTC)"):
        table.add_column(column, overflow="fold", justify="right" if column == "runs" else "left")
    for name in sorted({str(run.get("workflow")) for run in plan.runs}):
        times = [str(run.get("started_at")) for run in plan.runs if str(run.get("workflow")) == name]
        cells = (plain(name), f"{len(times):,}", to_the_second(min(times)), to_the_second(max(times)))
        table.add_row(*map(Text, cells))
    if plan.runs:
        err.print(table)
    if plan.already:
        _say(f"{_runs(plan.already)} left out: resubmitted already. --again resubmits them once more.")
    for (name, why), number in sorted(plan.cannot.items()):
        _say(f"{_runs(number)} of {name} left out: {why}")
    if plan.more:
        oldest = plain(plan.runs[0].get("started_at"))  # without it, runs that fail again would be the newest ones
        _say(f"There are more: raise --limit above {limit}, or add --until {oldest} to the same command afterwards.")


def confirm(plan: Plan, action: Action, rate: Rate, *, yes: bool) -> None:
    """Ask whether to begin. Exits with 1 if not, and with 2 if nobody can be asked."""
    seconds = len(plan.runs) * rate.seconds / rate.requests
    question = f"{action.noun} {_runs(len(plan.runs))}, which takes about {max(1, round(seconds)):,} s?"
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        stop("nothing was done. To begin without a question, give --yes.", 2)
    if not agreed:
        stop("nothing was done.")


async def carry_out(
    api: Api,
    plan: Plan,
    action: Action,
    rate: Rate,
    progress: Progress,
    tell: Callable[[str], None],
    clock: Callable[[], float] = monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Request it for one run after the other, at most at the rate. Waits as the server asks (429, 503 with
    Retry-After). `tell` is called with a line for each run. Exits with 1 if the server refuses anything else."""
    every, due = rate.seconds / rate.requests, clock()
    for run in plan.runs:
        if (early := due - clock()) > 0:
            await sleep(early)
        due = max(due, clock()) + every
        reply = await _of_run(api, run, action, sleep)
        place = f"[{progress.count + 1}/{len(plan.runs)}] {plain(run.get('id'))}"
        if reply.status in NOT_THIS:
            why = str(reply.document.get("detail") or reply.document.get("title"))
            progress.failed.append((run, why))
            tell(f"{place}: {plain(why)}")
            continue
        if not 200 <= reply.status < 300:
            stop(problem_text(reply.status, reply.document))
        progress.done.append((run, reply.document))
        new = reply.document.get("id")
        tell(f"{place} {action.done}" + (f" as {plain(new)}" if new != run.get("id") else ""))


async def _of_run(api: Api, run: Record, action: Action, sleep: Callable[[float], Awaitable[object]]) -> Reply:
    path, headers = f"/runs/{run.get('id')}/{action.check}", action.headers(run)
    for _ in range(MOST_ATTEMPTS):
        reply = await api.attempt("POST", path, more=headers, body=action.body)
        pause = reply.headers.get("retry-after", "")
        if reply.status not in (429, 503) or not (pause.isascii() and pause.isdigit()):
            return reply
        seconds = min(float(pause), LONGEST_PAUSE)
        _say(f"The server asks to wait: {seconds:g} s ({plain(reply.document.get('code'))}).")
        await sleep(seconds)
    return reply


def report(plan: Plan, progress: Progress, action: Action, *, again: bool, since: str) -> None:
    """Print how far it came, how to go on if it did not come to the end, and where to look."""
    left = len(plan.runs) - progress.count
    line = f"{_runs(len(progress.done))} {action.done}"
    if progress.failed:
        line += f", {len(progress.failed):,} could not be"
    _say(f"{line}{f', {left:,} left' if left else ''}.")
    if left:
        how = "Run the same command again to go on: what is done is left out."
        if again:
            how = f"Add --since {plain(plan.runs[progress.count].get('started_at'))} to the same command to go on."
        _say(how)
    if progress.done:
        _say(f"To see them: {program()} runs{f' --since {since}' if since else ''}")


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number:,} runs"


def tell_on_output(line: str) -> None:
    """Print the line of a run."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.file.flush()
