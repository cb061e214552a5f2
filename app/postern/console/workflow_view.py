"""Workflows as pages show them. Pure, but for authors' validators, which examples of a body are tried with."""

from dataclasses import dataclass
from math import isfinite

from postern.authoring.schedule import NEXT_TIMES, Schedule
from postern.catalog import Trigger
from postern.catalog.snapshot import Fault, tool_methods
from postern.console.access_words import AccessWords, access_words
from postern.journal.reading.failures import Failures, Recent
from postern.openapi.docs_page import Shown as Operation
from postern.openapi.docs_page import shown_operations
from postern.openapi.document import Described
from postern.openapi.operations import description_of, summary_of
from postern.plain_text import plain
from postern.redaction import without_tokens
from postern.settings.installation import Installation

MOST_MEMBERS = 40
"""Members of a body that have a row."""
MOST_TEXT = 2000
"""Characters of a text of an author."""
MOST_PEOPLE = 100
"""Callers of a list that have a row."""


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A workflow in the list. `failures` are those of the last 24 hours, None if there were none."""

    name: str
    summary: str
    methods: tuple[str, ...]
    access: AccessWords
    failures: Failures | None


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A file that cannot be served as it is written. `place` is `file:line`."""

    place: str
    cause: str
    fix: str
    still_serving: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """One workflow. `options` are those that differ from the usual, in words."""

    name: str
    description: str
    access: AccessWords
    place: str
    options: tuple[tuple[str, str], ...]


def workflow_row(trigger: Trigger, recent: Recent) -> WorkflowRow:
    """A row of the list."""
    workflow = trigger.workflow
    return WorkflowRow(
        workflow.name,
        summary_of(workflow),
        workflow.methods,
        access_words(workflow.access, trigger.policy),
        recent.workflows.get(workflow.name),
    )


def fault_row(fault: Fault) -> FaultRow:
    """A row of the faulty files. Causes are texts of exceptions, which may quote anything."""
    place = f"{fault.file}:{fault.line}" if fault.line else str(fault.file)
    cause, fix = (plain(without_tokens(text), lines=True)[:MOST_TEXT] for text in (fault.cause, fault.fix))
    return FaultRow(plain(place), cause, fix, fault.still_serving)


UNSEALED = (
    "Yes. Bodies of its runs are in the database, unsealed, until they succeed: POSTERN_DURABLE_KEY_NAME is not set"
)
SEALED = "Yes. Bodies of its runs are sealed in the database until they succeed"


def workflow_page(trigger: Trigger, now: float = 0.0, *, seals_runs: bool = False) -> WorkflowPage:
    """One workflow, without its operations. `now` is for the next times of its schedule."""
    workflow = trigger.workflow
    options = {
        "Networks": ", ".join(workflow.networks),
        "Pages of other origins": ", ".join("any" if each == "*" else each for each in workflow.origins),
        "Schedule": _schedule(workflow.schedule),
        "Next times": _next_times(workflow.schedule, now),
        "After a failure": f"{workflow.on_failure} is started" if workflow.on_failure else "",
        "Tool for agents": ", ".join(tool_methods(workflow)),
        "Timeout": f"{workflow.timeout:g} s" if isfinite(workflow.timeout) else "",
        "Concurrent runs": _concurrent(trigger),
        "Largest body": f"{workflow.max_body_bytes} bytes" if workflow.max_body_bytes else "",
        "Records": "none: it is stateless" if workflow.stateless else "",
        "Durable": (SEALED if seals_runs else UNSEALED) if workflow.durable else "",
        "Bodies kept out of records": _secured(trigger),
    }
    return WorkflowPage(
        workflow.name,
        description_of(workflow)[:MOST_TEXT],
        access_words(workflow.access, trigger.policy),
        plain(f"{trigger.file}:{workflow.line}"),
        tuple((name, value) for name, value in options.items() if value),
    )


def _schedule(schedule: Schedule | None) -> str:
    if schedule is None:
        return ""
    missed = "missed times are skipped" if schedule.missed == "skip" else "missed times start one run"
    return f"{schedule.expression} in {schedule.timezone}, {missed}"


def _next_times(schedule: Schedule | None, now: float) -> str:
    times = schedule.next_times(now, NEXT_TIMES) if schedule is not None else []
    return ", ".join(at.strftime("%Y-%m-%d %H:%M %Z") for at in times)


def operations_of(trigger: Trigger, installation: Installation, tokens: str | None) -> list[Operation]:
    """Each method with its URL, schemas and the command that calls it, as `/docs` has them. `tokens` is the command
    that prints a token of the local tenant, None without one."""
    described = Described({trigger.workflow.name: trigger}, installation)
    document = described.document()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    return shown_operations(document, dict.fromkeys(ids, tokens) if tokens is not None else None)


def _concurrent(trigger: Trigger) -> str:
    workflow = trigger.workflow
    if not workflow.max_concurrency:
        return ""
    each = " for each key" if workflow.concurrency_key is not None else ""
    over_all = ", over all server processes" if workflow.singleton or workflow.durable else ""
    return f"at most {workflow.max_concurrency}{each}{over_all}"


def _secured(trigger: Trigger) -> str:
    workflow = trigger.workflow
    parts = [
        word for word, is_so in (("inputs", workflow.secure_inputs), ("outputs", workflow.secure_outputs)) if is_so
    ]
    return " and ".join(parts)
