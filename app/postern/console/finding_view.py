"""Findings as pages show them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postern.console.words import day_words, first_of_each_day, time_words
from postern.journal.finding import OF_ADDRESS, Finding, FindingKind, FindingState
from postern.journal.revocations import Kind
from postern.plain_text import plain
from postern.security.findings.detector import MANY_SUBJECTS
from postern.security.findings.kinds import KINDS, title_of

STATES = {"new": "New", "acknowledged": "Acknowledged", "revoked": "Access revoked"}


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding in a list. `day` and `time` are those of its last moment."""

    id: str
    kind: str
    title: str
    state: str
    who: str
    workflow: str
    address: str
    count: int
    first_at: float
    last_at: float
    day: str
    time: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What can be revoked: its words, and what the form sends."""

    kind: Kind
    subject: str
    words: str


@dataclass(frozen=True, slots=True)
class FindingPage:
    """A finding with its evidence. `meaning` is the rule in a sentence. `done` says who set its state, "" if it is
    new."""

    row: FindingRow
    meaning: str
    facts: list[tuple[str, str]]
    runs: tuple[str, ...]
    refused: tuple[str, ...]
    lists: list[tuple[str, tuple[str, ...]]]
    choices: list[Choice]
    done: str
    done_at: float | None
    alerted_at: float | None


def finding_rows(findings: Sequence[Finding]) -> list[FindingRow]:
    """The rows of the list. The first of each day has the day."""
    return first_of_each_day(map(finding_row, findings))


def finding_row(finding: Finding) -> FindingRow:
    """One row."""
    return FindingRow(
        id=finding.id,
        kind=plain(finding.kind),
        title=plain(title_of(finding.kind)),
        state=STATES.get(finding.state, plain(finding.state)),
        who=who_words(finding),
        workflow=plain(finding.workflow),
        address=plain(finding.client_address),
        count=finding.count,
        first_at=finding.first_at,
        last_at=finding.last_at,
        day=day_words(finding.last_at),
        time=time_words(finding.last_at),
    )


def finding_view(finding: Finding) -> FindingPage:
    """One finding."""
    evidence = finding.evidence
    known = finding.kind in tuple(FindingKind)
    lists = [(name, getattr(evidence, name)) for name in ("networks", "addresses", "workflows", "reasons")]
    return FindingPage(
        row=finding_row(finding),
        meaning=KINDS[FindingKind(finding.kind)].when.replace("`", "") if known else "",
        facts=_facts(finding),
        runs=tuple(map(plain, evidence.runs)),
        refused=tuple(map(plain, evidence.refused)),
        lists=[(name.capitalize(), tuple(map(plain, values))) for name, values in lists if values],
        choices=choices(finding),
        done=_by(finding.state_by) if finding.state != FindingState.NEW.value else "",
        done_at=finding.state_at,
        alerted_at=finding.alerted_at,
    )


def choices(finding: Finding) -> list[Choice]:
    """What can be revoked because of a finding: the token, the caller, the application. For each it says who that
    is."""
    who = finding.who
    name = plain(who.name or who.object_id)
    caller = "the person" if who.kind == "user" else "the caller"
    found = [
        Choice(Kind.TOKEN, who.token_id, f"This token ({plain(who.token_id)}) only"),
        Choice(Kind.CALLER, who.object_id, f"All tokens of {caller} {name}, with sessions, links and grants"),
        Choice(
            Kind.CLIENT, who.client_id, f"All tokens that were issued through the application {plain(who.client_id)}"
        ),
    ]
    return [choice for choice in found if choice.subject]


def who_words(finding: Finding) -> str:
    """Whom it is about, in one text."""
    who = finding.who
    if finding.subject == MANY_SUBJECTS:
        return "many others"
    if finding.subject.startswith("application/"):
        return f"application {plain(who.client_id or finding.subject.partition('/')[2])}"
    if finding.subject.startswith(OF_ADDRESS):
        return f"address {plain(finding.subject.partition('/')[2])}"
    return plain(who.name or who.object_id or finding.subject)


def _facts(finding: Finding) -> list[tuple[str, str]]:
    who = finding.who
    found = (
        ("Name", who.name),
        ("Kind", who.kind),
        ("Object id", who.object_id),
        ("Client id", who.client_id),
        ("Tenant id", who.tenant_id),
        ("Token id", who.token_id),
        ("Address", finding.client_address),
        ("Workflow", finding.workflow),
    )
    return [(name, plain(value)) for name, value in found if value]


def _by(actor: Any) -> str:
    if not isinstance(actor, dict):
        return "an operator"
    return plain(str(actor.get("name") or actor.get("object_id") or "an operator"))
