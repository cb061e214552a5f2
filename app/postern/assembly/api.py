"""The run API and the documents of the triggers."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from postern.api import routes as api
from postern.api.approval_actions import ApprovalActions
from postern.api.departure import Page
from postern.api.docs import Docs, TokenCommand
from postern.api.durable_actions import DurableActions
from postern.api.finding_actions import FindingActions
from postern.api.resubmit import resubmitter
from postern.api.result_wait import ResultWait
from postern.api.results import Results
from postern.api.run_actions import Resubmit, Underway
from postern.api.run_audit import RunAudit
from postern.api.signal_actions import SignalActions
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.grants import GrantsPart
from postern.assembly.installation import installation_of
from postern.assembly.part import Part
from postern.assembly.refusals import RefusalsPart
from postern.assembly.revocation import RevocationPart
from postern.assembly.runs import RunsPart
from postern.journal.reading.readers import SERVER
from postern.journal.reading.records import RunRecord, underway_record
from postern.runs.apart import apart
from postern.triggers.large_bodies import LargeBodies


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPart(Part):
    """The run API. `resubmit` starts a run again, and `underway` finds one of this process that has not ended.
    `run_audit` notes in the audit log what is done with runs. `findings` are the actions on findings, `approvals` and
    `signals` those on these, `durable` those on durable runs. `results` replies with the results of runs."""

    resubmit: Resubmit
    underway: Underway
    run_audit: RunAudit
    findings: FindingActions
    approvals: ApprovalActions
    signals: SignalActions
    results: Results
    durable: DurableActions


def api_part(
    base: Foundation,
    runs: RunsPart,
    durable: DurablePart,
    refusals: RefusalsPart,
    grants: GrantsPart,
    revocation: RevocationPart,
    local_tokens: TokenCommand | None,
    large_bodies: LargeBodies,
    more: Iterable[tuple[str, str, Page]] = (),
) -> ApiPart:
    """`/runs`, `/refusals`, `/workflows`, `/connections`, `/findings`, `/revocations`, `/openapi.json`, `/docs`, and
    `more` pages of other parts by method and path. With `local_tokens`, for a local tenant, all callers see the
    documents of all triggers."""
    journal, catalog, installation = base.journal, base.catalog, installation_of(base.settings)
    identify = base.identity.identification.identify
    docs = Docs(installation, identify, catalog.snapshot, local_tokens)
    underway = _underway(runs, journal.node)
    results = _results(base, durable, console_on=bool(grants.address))
    actions = DurableActions(journal.write, durable.cancel, durable.ended, durable.ready, _cancelled(base, runs))
    run_audit, findings = RunAudit(base.note), FindingActions(journal.write, base.note, base.log)
    approvals, signals = _of_waits(base, durable, run_audit)
    resubmit = resubmitter(catalog.snapshot, apart(durable.start), large_bodies)
    routes = api.routes(
        read=journal.read,
        write=journal.write,
        identify=identify,
        cancel=runs.runner.cancel,
        results=results,
        durable=actions,
        underway=underway,
        resubmit=resubmit,
        snapshot=catalog.snapshot,
        installation=installation,
        refused=refusals.take,
        log=base.log,
        now=base.outside.now,
        grants=grants.actions,
        connect_at=grants.address,
        revoking=revocation.revoking,
        more=(*docs.pages, *more),
        audit=run_audit,
        findings=findings,
        approvals=approvals,
        signals=signals,
    )
    return ApiPart(
        routes=tuple(routes),
        tasks=(results.waits.run,),
        resubmit=resubmit,
        underway=underway,
        run_audit=run_audit,
        findings=findings,
        approvals=approvals,
        signals=signals,
        results=results,
        durable=actions,
    )


def _cancelled(base: Foundation, runs: RunsPart) -> Callable[[str], None]:
    """Counts runs that were cancelled without their code, by the names of their workflows."""

    def count(name: str) -> None:
        trigger = base.catalog.triggers().get(name)
        runs.requests.count(name, trigger.workflow.access.mode if trigger is not None else "", "cancelled")

    return count


def _results(base: Foundation, durable: DurablePart, *, console_on: bool) -> Results:
    """What replies with the results of runs. Those who wait know at once when a durable run has ended here."""
    read = base.journal.read
    waits = ResultWait(partial(read, caller=SERVER))
    durable.ended.listeners.append(waits.ended)
    return Results(read, waits, durable.whole, console_on=console_on)


def _underway(runs: RunsPart, node: str) -> Underway:
    def underway(run_id: str) -> RunRecord | None:
        run = runs.runner.underway(run_id)
        return underway_record(run, node) if run is not None else None

    return underway


def _of_waits(base: Foundation, durable: DurablePart, run_audit: RunAudit) -> tuple[ApprovalActions, SignalActions]:
    """The actions on what durable runs wait for."""
    journal = base.journal
    approvals = ApprovalActions(
        *(journal.read, journal.write, base.catalog.bind, durable.unseal, durable.come, base.log, time.time, run_audit),
        durable.seal_decision,
    )
    signals = SignalActions(durable.send_signal, base.settings.max_body_bytes, base.log, time.time, run_audit)
    return approvals, signals
