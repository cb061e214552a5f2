"""Events of the audit log in words. Pure. An event of a kind that only a newer release knows is shown by its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from postern.console.refusal_view import reason_words
from postern.console.words import count, day_words, first_of_each_day, time_words
from postern.ids import is_id
from postern.journal.audit_event import Kind
from postern.journal.reading.audit import AuditRecord
from postern.journal.refusal_windows import MANY
from postern.plain_text import plain

MOST_SHOWN = 2_000
"""Characters of a field that the page shows. The API has all of it."""

LABELS: Mapping[str, str] = {
    Kind.ADMISSION: "Admitted",
    Kind.REFUSAL: "Rejected",
    Kind.SIGN_IN: "Signed in",
    Kind.SIGN_OUT: "Session ended",
    Kind.CONSENT: "Consent",
    Kind.SECRET_READ: "Secret read",
    Kind.WORKFLOW_ADDED: "Workflow added",
    Kind.WORKFLOW_CHANGED: "Workflow changed",
    Kind.WORKFLOW_REMOVED: "Workflow removed",
    Kind.FILE_FAULTY: "Faulty file",
    Kind.ACCESS_CHANGED: "Access changed",
    Kind.SERVER_STARTED: "Server started",
    Kind.REVOCATION: "Access revoked",
    Kind.REVOCATION_LIFTED: "Revocation lifted",
    Kind.RUN_CANCELLED: "Run cancelled",
    Kind.RUN_RESUBMITTED: "Run resubmitted",
    Kind.RUN_RESUMED: "Run resumed",
    Kind.SIGNAL_SENT: "Signal sent",
    Kind.APPROVAL_DECIDED: "Approval decided",
    Kind.RECORD_VIEWED: "Record viewed",
    Kind.RETENTION: "Records deleted",
    Kind.FINDING: "Finding",
    Kind.FINDING_ACKNOWLEDGED: "Finding handled",
    Kind.SIGNED_URL_MADE: "Signed URL made",
    Kind.SIGNED_URL_REVOKED: "Signed URL revoked",
    Kind.EVENTS_LOST: "Events lost",
}

_CONSENT = {
    "connected": "connected {connection}",
    "other-account": "came back from {connection} with another account",
    "refused": "did not get consent for {connection}",
    "disconnected": "disconnected {connection}",
    "link-made": "made a link to connect {connection}",
}

Fields = Mapping[str, Any]


def _of(fields: Fields) -> str:
    return f"of {_text(fields, 'owner')}" if fields.get("owner") else "of an anonymous caller"


UNVERIFIED = "no verified caller"
"""Who sent a request that was rejected before its token was verified, or that had none."""

_SENTENCES: Mapping[str, Callable[[Fields], str]] = {
    Kind.ADMISSION: lambda f: f"{_requests(f)} from {_addresses(f)}",
    Kind.REFUSAL: lambda f: f"{_requests(f)} from {_address(f)}: {reason_words(_text(f, 'reason'))}",
    Kind.SIGN_IN: lambda f: f"from {_address(f)}",
    Kind.SIGN_OUT: lambda f: "" if f.get("owner") == f.get("object_id") else f"of {_text(f, 'owner')}",
    Kind.CONSENT: lambda f: _CONSENT.get(_text(f, "action"), "{connection}").format(connection=_text(f, "connection")),
    Kind.SECRET_READ: lambda f: f"{_text(f, 'secret')}, version {_text(f, 'version')}",
    Kind.WORKFLOW_ADDED: lambda f: f"in {_text(f, 'file')}: {access_text(f.get('access'))}",
    Kind.WORKFLOW_CHANGED: lambda f: f"in {_text(f, 'file')}",
    Kind.WORKFLOW_REMOVED: lambda f: f"was in {_text(f, 'file')}",
    Kind.FILE_FAULTY: lambda f: _text(f, "file") + (f", line {f['line']}" if f.get("line") else ""),
    Kind.ACCESS_CHANGED: lambda f: f"from {access_text(f.get('before'))} to {access_text(f.get('after'))}",
    Kind.SERVER_STARTED: lambda f: f"version {_text(f, 'version')}, workflows: {len(f.get('workflows') or ())}",
    Kind.REVOCATION: lambda f: f"{_text(f, 'revoked_kind')} {_text(f, 'revoked')}: {_text(f, 'reason')}",
    Kind.REVOCATION_LIFTED: lambda f: f"{_text(f, 'revoked_kind')} {_text(f, 'revoked')}",
    Kind.RUN_CANCELLED: _of,
    Kind.RUN_RESUBMITTED: _of,
    Kind.RUN_RESUMED: lambda f: f"{_of(f)}{', from the start' if f.get('from_start') else ''}",
    Kind.SIGNAL_SENT: lambda f: _text(f, "signal"),
    Kind.APPROVAL_DECIDED: lambda f: f"{_text(f, 'approval')}: {_text(f, 'decision')}",
    Kind.RECORD_VIEWED: _of,
    Kind.RETENTION: lambda f: ", ".join(f"{count(n)} {plain(name)}" for name, n in _counts(f)) or "events",
    Kind.FINDING: lambda f: _text(f, "finding_kind"),
    Kind.FINDING_ACKNOWLEDGED: lambda f: f"{_text(f, 'finding_kind')}: {_text(f, 'state')}",
    Kind.SIGNED_URL_MADE: lambda f: f"{_text(f, 'link')}, with the {_text(f, 'key')} key",
    Kind.SIGNED_URL_REVOKED: lambda f: _text(f, "link"),
    Kind.EVENTS_LOST: lambda f: f"{_text(f, 'count')}, while the database was unavailable",
}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An event in the list. `who` did it; `who_filter` is the object id to filter by, "" if there is none. `link` is a
    page about it below `/console`, "" if there is none, and `facts` are its fields."""

    node: str
    number: int
    at: float
    day: str
    time: str
    kind: str
    label: str
    words: str
    who: str
    who_filter: str
    workflow: str
    link: str
    facts: tuple[tuple[str, str], ...]
    hash: str


def audit_rows(records: Sequence[AuditRecord]) -> list[AuditRow]:
    """The rows of the list. The first of each day has the day."""
    return first_of_each_day(map(audit_row, records))


def audit_row(record: AuditRecord) -> AuditRow:
    """One row."""
    fields = record.fields
    return AuditRow(
        node=plain(record.node),
        number=record.number,
        at=record.at,
        day=day_words(record.at),
        time=time_words(record.at),
        kind=plain(record.kind),
        label=LABELS.get(record.kind, plain(record.kind)),
        words=_words(record.kind, fields),
        who=who_words(fields) or (UNVERIFIED if record.kind == Kind.REFUSAL else ""),
        who_filter=record.subject,
        workflow="several workflows" if record.workflow == MANY else plain(record.workflow),
        link=_link(record),
        facts=tuple((plain(name), _shown(value)) for name, value in fields.items()),
        hash=plain(record.hash),
    )


def access_text(access: Any) -> str:
    """Who may call a workflow, from the fields of an event: the mode, and the options that the author set."""
    if not isinstance(access, Mapping):
        return "unknown"
    mode, options = _text(access, "mode"), {name: value for name, value in access.items() if name != "mode"}
    people = options.pop("people", None)
    words = [mode] + ([f"{len(people)} caller{'' if len(people) == 1 else 's'}"] if isinstance(people, list) else [])
    words += [plain(name) for name in options if name not in ("tenants", "audiences")]
    return f"{words[0]} ({', '.join(words[1:])})" if len(words) > 1 else words[0]


def who_words(fields: Fields) -> str:
    """Who did it, "" for the server itself."""
    kind = fields.get("caller_kind")
    if kind == MANY:
        return "many callers"
    if kind == "anonymous":
        return "anonymous"
    return _text(fields, "name") or _text(fields, "object_id")


def _words(kind: str, fields: Fields) -> str:
    sentence = _SENTENCES.get(kind)
    try:
        return sentence(fields) if sentence is not None else ""
    except (TypeError, ValueError, LookupError, AttributeError):  # fields of another release
        return ""


def _link(record: AuditRecord) -> str:
    finding = record.fields.get("finding")
    if isinstance(finding, str) and is_id(finding):
        return f"/findings/{finding}"
    run = record.fields.get("new_run") or record.fields.get("run")
    if isinstance(run, str) and is_id(run):
        return f"/runs/{run}"
    ids = record.fields.get("request_ids")
    first = ids[0] if isinstance(ids, list) and ids else ""
    if isinstance(first, str) and is_id(first):
        return f"/runs/{first}" if record.kind == Kind.ADMISSION else f"/refusals/{first}"
    if record.workflow and record.workflow != MANY and record.kind != Kind.WORKFLOW_REMOVED:
        return f"/workflows/{quote(record.workflow, safe='')}"
    return ""


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return "" if value is None else plain(str(value))[:MOST_SHOWN]


def _requests(fields: Fields) -> str:
    number = int(fields["count"])
    return f"{count(number)} request{'' if number == 1 else 's'}"


def _address(fields: Fields) -> str:
    address = _text(fields, "client_address")
    return "many addresses" if address == MANY else address or "an unknown address"


def _addresses(fields: Fields) -> str:
    found = [plain(str(each)) for each in fields.get("client_addresses") or ()]
    return ", ".join(found) or ("many addresses" if fields.get("caller_kind") == MANY else "an unknown address")


def _counts(fields: Fields) -> list[tuple[str, int]]:
    return [(str(name), int(number)) for name, number in (fields.get("deleted") or {}).items()]


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        text = "; ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    elif isinstance(value, list):
        text = ", ".join(map(_shown, value))
    else:
        text = "" if value is None else str(value)
    return plain(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…")
