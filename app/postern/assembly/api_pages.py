"""The run API and the documents of the triggers: their routes, and what they share with the console. It is loaded for
the first request for one of them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.routing import Route

from postern.api import routes as api
from postern.api.access_handlers import AccessHandlers
from postern.api.approval_actions import ApprovalActions
from postern.api.docs import Docs
from postern.api.durable_actions import DurableActions
from postern.api.finding_actions import FindingActions
from postern.api.local_people import TokenCommand
from postern.api.operators import Operators
from postern.api.resubmit import resubmitter
from postern.api.result_wait import ResultWait
from postern.api.results import Results
from postern.api.run_actions import Resubmit, Underway
from postern.api.run_audit import RunAudit
from postern.api.signal_actions import SignalActions
from postern.api.signed_url_handlers import SignedUrlHandlers
from postern.assembly.api_needs import ApiNeeds
from postern.assembly.durable import DurablePart
from postern.assembly.foundation import Foundation
from postern.assembly.installation import installation_of
from postern.assembly.runs import RunsPart
from postern.journal.reading.records import RunRecord, underway_record
from postern.runs.apart import apart


@dataclass(frozen=True, slots=True)
class ApiActions:
    """What the console does too. `resubmit` starts a run again, and `underway` finds one of this process that has not
    ended. `run_audit` notes in the audit log what is done with runs. `findings` are the actions on findings,
    `approvals` and `signals` those on these, `durable` those on durable runs. `results` replies with the results of
    runs."""

    resubmit: Resubmit
    underway: Underway
    run_audit: RunAudit
    findings: FindingActions
    approvals: ApprovalActions
    signals: SignalActions
    results: Results
    durable: DurableActions


def api_actions(base: Foundation, needs: ApiNeeds, waits: ResultWait) -> ApiActions:
    """The actions of this server. `waits` are the requests that wait for the ends of runs."""
    journal, catalog, runs, durable = base.journal, base.catalog, needs.runs, needs.durable
    run_audit = RunAudit(base.note)
    approvals, signals = _of_waits(base, durable, run_audit)
    return ApiActions(
        resubmit=resubmitter(catalog.snapshot, apart(durable.start), needs.large_bodies),
        underway=_underway(runs, journal.node),
        run_audit=run_audit,
        findings=FindingActions(journal.write, base.note, base.log),
        approvals=approvals,
        signals=signals,
        results=Results(journal.read, waits, durable.whole, console_on=bool(needs.grants.address)),
        durable=DurableActions(journal.write, durable.cancel, durable.ended, durable.ready, _cancelled(base, runs)),
    )


def api_routes(
    base: Foundation, needs: ApiNeeds, actions: ApiActions, local_tokens: TokenCommand | None
) -> Iterable[Route]:
    """The routes of this server. With `local_tokens`, for a local tenant, all callers see the documents of all
    triggers."""
    journal, catalog, installation = base.journal, base.catalog, installation_of(base.settings)
    identify = base.identity.identification.identify
    docs = Docs(installation, identify, catalog.snapshot, local_tokens)
    operators = Operators(installation, identify, catalog.snapshot)
    urls, reviews = SignedUrlHandlers(operators, needs.signed_urls.actions()), AccessHandlers(operators, needs.review())
    return api.routes(
        read=journal.read,
        write=journal.write,
        identify=identify,
        cancel=needs.runs.runner.cancel,
        results=actions.results,
        durable=actions.durable,
        underway=actions.underway,
        resubmit=actions.resubmit,
        snapshot=catalog.snapshot,
        installation=installation,
        refused=needs.refusals.take,
        log=base.log,
        now=base.outside.now,
        grants=needs.grants.actions(),
        connect_at=needs.grants.address,
        revoking=needs.revocation.revoking(),
        more=(*docs.pages, *urls.pages, *reviews.pages),
        audit=actions.run_audit,
        findings=actions.findings,
        approvals=actions.approvals,
        signals=actions.signals,
    )


def _cancelled(base: Foundation, runs: RunsPart) -> Callable[[str], None]:
    """Counts runs that were cancelled without their code, by the names of their workflows."""

    def count(name: str) -> None:
        trigger = base.catalog.triggers().get(name)
        runs.requests.count(name, trigger.workflow.access.mode if trigger is not None else "", "cancelled")

    return count


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
