"""Run records as text for a terminal. They contain callers' data, so all of it is shown as plain text."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text
from rich.tree import Tree

from postern.cli.terminal import plain
from postern.cli.time_arguments import between, span, to_the_millisecond, to_the_second

ENDED = frozenset({"Succeeded", "Failed", "Cancelled", "TimedOut", "Interrupted"})

_STYLES = {"Succeeded": "green", "Running": "cyan", "Waiting": "cyan"}
_LINE = "{:<19}  {:<36}  {:<11}  {:<6}  {:>11}  {:<20}  {}"
_WIDTH = 20

Record = Mapping[str, Any]

_OF_AGENT = (("client_id", "client"), ("blueprint", "blueprint"))


def heading() -> Text:
    """The heading of a list of runs."""
    return Text(_LINE.format("started (UTC)", "run", "state", "status", "took", "workflow", "caller"), "bold")


def line(run: Record) -> Text:
    """A run in one line."""
    state = plain(run.get("state"))
    cells = (
        to_the_second(run.get("started_at")),
        plain(run.get("id")),
        state,
        plain(_or_nothing(run.get("status"))),
        span(run.get("duration_ms")),
        plain(run.get("workflow")),
        _caller_name(run),
    )
    text = Text(_LINE.format(*cells))
    text.stylize(_STYLES.get(state, "red"), start=59, end=59 + len(state))
    return text


def details(run: Record) -> Text:
    """A run with its whole record."""
    text = Text()
    for name, value in _facts(run):
        text.append(f"{name:<{_WIDTH}}", "bold").append(f"{value}\n")
    for name in ("inputs", "outputs"):
        note = run.get(f"{name}_note")
        text.append(name, "bold").append(f"  ({plain(note)})\n" if note else "\n")
        text.append(_body(run.get(name), kept=note != "secured"))
    text.append_text(_traceback(run.get("error")))
    text.append_text(_steps(run.get("steps")))
    text.append_text(_calls(run.get("calls")))
    text.rstrip()
    return text


def tree(run: Record) -> Tree:
    """A run with the runs that it called, and so on."""
    found = Tree(_node(run))
    _grow(found, run)
    if run.get("truncated"):
        found.add(Text("… more runs are not shown", "dim"))
    return found


def _grow(above: Tree, run: Record) -> None:
    for call in _list(run.get("calls")):
        below = call.get("run")
        if isinstance(below, Mapping):
            _grow(above.add(_node(below)), below)
        else:
            above.add(_leaf(call))


def _node(run: Record) -> Text:
    """A run of a tree in one line."""
    state = plain(run.get("state"))
    text = Text(f"{plain(run.get('workflow'))}  ")
    text.append(state, _STYLES.get(state, "red"))
    return text.append(f"  {span(run.get('duration_ms'))}  {plain(run.get('id'))}")


def _leaf(call: Record) -> Text:
    """A call whose run is on another server, or not visible to this caller."""
    text = Text(f"{plain(call.get('name'))}  ").append_text(_outcome(call))
    return text.append(f"  {plain(call['url'])}", "dim") if call.get("url") else text


def _outcome(call: Record) -> Text:
    """The status of a call, or the reason why there is none."""
    status, error = call.get("status"), call.get("error")
    text = plain(error or "no response") if status is None else plain(status)
    return Text(text, "red" if status is None or error else "green")


def _facts(run: Record) -> Iterator[tuple[str, str]]:
    state = plain(run.get("state"))
    yield "run", plain(run.get("id"))
    yield "workflow", plain(run.get("workflow"))
    yield "state", f"{state}, status {plain(run['status'])}" if run.get("status") is not None else state
    yield "caller", _caller(run)
    yield "from", plain(_or_nothing(run.get("client_address")))
    yield from through(run, run.get("agent"))
    yield "started", to_the_millisecond(run.get("started_at"))
    if run.get("ended_at"):
        yield "ended", f"{to_the_millisecond(run['ended_at'])}, after {span(run.get('duration_ms'))}"
    if isinstance(run.get("durable"), Mapping):
        yield "durable", _durable(run["durable"])
    error = run.get("error")
    if isinstance(error, Mapping):
        message = error.get("message")
        yield "error", plain(error.get("type")) + (f": {plain(message)}" if message is not None else "")
    for name, label in (
        ("parent_run_id", "parent run"),
        ("resubmitted_from", "resubmitted from"),
        ("trace_id", "trace"),
    ):
        if run.get(name):
            yield label, plain(run[name])
    for name, label in (("resubmitted_by", "resubmitted by"), ("cancelled_by", "cancelled by")):
        if isinstance(run.get(name), Mapping):
            yield label, _in_words(run[name])


def through(record: Record, agent: Any) -> Iterator[tuple[str, str]]:
    """Through what a run or a rejected request came, if not by a trigger's URL, and the agent, if there was one."""
    if record.get("via"):
        client = record.get("via_client")
        names = [plain(client[part]) for part in ("name", "version") if client.get(part)] if client else []
        yield "via", f"{plain(record['via'])}, {' '.join(names)} (unverified)" if names else plain(record["via"])
    if isinstance(agent, Mapping):
        parts = [plain(agent.get("kind"))]
        parts += [f"{name} {plain(agent[key])}" for key, name in _OF_AGENT if agent.get(key)]
        yield "agent", ", ".join(parts)


def _durable(state: Mapping[str, Any]) -> str:
    """Where a durable run is, and what wakes it."""
    parts = [" ".join(plain(state[name]) for name in ("phase", "reason", "waits_for") if state.get(name))]
    if state.get("wakes_at"):
        parts.append(f"until {to_the_second(state['wakes_at'])}")
    for name, one in (("attempt", "attempt"), ("deaths", "deaths"), ("resumed", "resumed")):
        if state.get(name):
            parts.append(f"{one} {plain(state[name])}")
    return ", ".join(parts)


def _caller_name(run: Record) -> str:
    caller = _caller_of(run)
    return plain(caller.get("name") or caller.get("object_id") or caller.get("client_id") or caller.get("kind") or "")


def _caller(run: Record) -> str:
    return _in_words(_caller_of(run))


def _in_words(caller: Mapping[str, Any]) -> str:
    parts = [plain(caller[name]) for name in ("name", "kind", "object_id") if caller.get(name)]
    if caller.get("client_id"):
        parts.append(f"client {plain(caller['client_id'])}")
    return ", ".join(parts)


def _caller_of(run: Record) -> Mapping[str, Any]:
    caller = run.get("caller")
    return caller if isinstance(caller, Mapping) else {}


def _body(value: Any, *, kept: bool) -> str:
    """The body, indented, each line as plain text."""
    if not kept:
        return ""
    if value is None:
        return "  (none)\n"
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(f"  {plain(part)}\n" for part in text.splitlines())


def _traceback(error: Any) -> Text:
    trace = error.get("traceback") if isinstance(error, Mapping) else None
    if not isinstance(trace, str):
        return Text()
    return Text("traceback\n", "bold").append("".join(f"  {plain(part)}\n" for part in trace.splitlines()))


def _steps(steps: Any) -> Text:
    text = Text()
    if not isinstance(steps, list) or not steps:
        return text
    text.append("steps\n", "bold")
    for step in steps:
        mark, style = ("ok", "green") if step.get("succeeded") else ("failed", "red")
        attempts = step.get("attempts") or []
        tries = f", {len(attempts)} attempts" if len(attempts) > 1 else ""
        text.append(f"  {mark:<8}", style)
        text.append(f"{plain(step.get('name'))}  {between(step.get('started_at'), step.get('ended_at'))}{tries}\n")
        for number, attempt in enumerate(attempts, start=1):
            took = between(attempt.get("started_at"), attempt.get("ended_at"))
            begun = to_the_millisecond(attempt.get("started_at"))
            text.append(f"          {number}. {begun}  {took}  {plain(attempt.get('error') or 'succeeded')}\n", "dim")
    return text


def _calls(calls: Any) -> Text:
    text = Text()
    for number, call in enumerate(_list(calls)):
        text.append("" if number else "calls\n", "bold").append("  ")
        if call.get("requests"):
            text.append(f"{plain(call['requests'])} further requests{_by(call)}\n")
            continue
        text.append_text(_outcome(call))
        text.append(f"  {plain(call.get('name'))}  {between(call.get('started_at'), call.get('ended_at'))}{_by(call)}")
        text.append("".join(f"  {plain(call[name])}" for name in ("run_id", "url") if call.get(name)) + "\n", "dim")
    return text


def _by(call: Record) -> str:
    """By which gateway and agent it was sent."""
    names = ", ".join(plain(call[name]) for name in ("gateway", "agent") if call.get(name))
    return f"  by {names}" if names else ""


def _list(value: Any) -> list[Record]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _or_nothing(value: object) -> object:
    return "" if value is None else value
