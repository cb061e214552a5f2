"""Findings: odd activity of callers, and the alerts that they start."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog

from postern.api.metrics import finding_metrics
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.catalog import Trigger
from postern.errors import problem
from postern.journal.audit_event import Kind
from postern.journal.finding import Finding, FindingKind
from postern.journal.reading.readers import SERVER
from postern.journal.run import Run
from postern.runs.server_run import server_run
from postern.security.audit.log import Note
from postern.security.findings.alert_workflow import alert_fault
from postern.security.findings.alerts import Alerts
from postern.security.findings.watch import Watch
from postern.security.observed import Observer
from postern.triggers.server_runs import StartRun, starter

log = structlog.get_logger("postern.findings")


def findings_part(base: Foundation, durable: DurablePart, observer: Observer) -> Part:
    """What is observed is looked at while the server runs, and the rest when it stops: so this part starts before the
    one that observes."""
    settings, journal, catalog = base.settings, base.journal, base.catalog
    counts = Counter({kind.value: 0 for kind in FindingKind})  # each series begins at 0, so that its first rise counts
    read = partial(journal.read, caller=SERVER)
    name, start_run = settings.findings.run, starter(durable.start)

    async def start(finding: Finding, run_id: str) -> Run:
        return await start_alert(catalog.triggers(), start_run, name or "", finding, run_id)

    def fault() -> str:
        return alert_fault(name, catalog.triggers())

    alerts = Alerts(name or "", read, journal.write, start, fault, settings.client_id or "")

    def found(new: Sequence[Finding]) -> None:
        for finding in new:
            counts[finding.kind] += 1
            report(finding, base.note)
        alerts.wake()

    watch = Watch(read, journal.write, journal.node, catalog.triggers, found)
    observer.listeners.append(watch.listen)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        if wrong := fault():
            log.error("alert-workflow-missing", workflow=name, error=wrong)
        yield
        await watch.aclose()

    return Part(
        life=life,
        tasks=(watch.run, alerts.run) if name else (watch.run,),
        metrics=(finding_metrics(lambda: dict(counts), lambda: dict(alerts.outcomes)),),
    )


def report(finding: Finding, note: Note) -> None:
    """A line in the log and an event of the audit log for a new finding."""
    about = {"subject": finding.subject, "workflow": finding.workflow, "client_address": finding.client_address}
    log.warning(
        "finding",
        finding=finding.id,
        kind=finding.kind,
        object_id=finding.who.object_id,
        client_id=finding.who.client_id,
        runs=list(finding.evidence.runs[:3]),
        refused=list(finding.evidence.refused[:3]),
        **about,
    )
    fields = {"finding": finding.id, "finding_kind": finding.kind, **about}
    subject = finding.who.object_id or finding.who.client_id
    note(Kind.FINDING, subject=subject, workflow=finding.workflow, fields=fields)


async def start_alert(
    triggers: Mapping[str, Trigger], start: StartRun, name: str, finding: Finding, run_id: str
) -> Run:
    """Run the workflow of the alert, with the finding as its JSON body, to its end, or until it is accepted if it is
    durable. Raises Problem if it cannot start."""
    trigger = triggers.get(name)
    if trigger is None:
        raise problem("unknown-trigger")
    from postern.api.finding_actions import finding_json  # for an alert only

    run = server_run(run_id, trigger, "finding", f"finding {finding.kind}", finding_json(finding))
    return await start(run, None)
