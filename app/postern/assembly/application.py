"""The application: its parts in order, and the ASGI application that they make."""

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from postern.api.local_people import LocalCaller, TokenCommand
from postern.api.own_host import OwnHost
from postern.assembly.api import api_part
from postern.assembly.api_needs import ApiNeeds, MakeReview
from postern.assembly.asgi import Application, no_trigger
from postern.assembly.audit import audit_part
from postern.assembly.console_needs import Beside, Local
from postern.assembly.console_part import console_off, console_on
from postern.assembly.durable import DurablePart, durable_part
from postern.assembly.failures import failures_part
from postern.assembly.findings import findings_part
from postern.assembly.foundation import Foundation, foundation
from postern.assembly.grants import grants_part
from postern.assembly.installation import authority
from postern.assembly.limits import limit_checks
from postern.assembly.mcp import mcp_part
from postern.assembly.observed import ObservedPart, observed_part
from postern.assembly.once import Once
from postern.assembly.operations import operations_part, readiness_of
from postern.assembly.outside import NETWORK, Outside
from postern.assembly.part import Part, without_routes
from postern.assembly.refusals import RefusalsPart, refusals_part
from postern.assembly.revocation import revocation_part
from postern.assembly.runs import RunsPart, runs_part
from postern.assembly.schedules import schedules_part
from postern.assembly.senders import SendersPart, senders_part
from postern.assembly.signed_urls import MakeSecret, SignedUrlsPart, signed_urls_part
from postern.assembly.takeovers import beat_every
from postern.assembly.telemetry import telemetry_part
from postern.journal.writing.writer_process import StartWriter
from postern.logs import configure_logs, divide_streams, log_format
from postern.runs.breakpoints import refuse_breakpoints
from postern.settings import Settings, load_settings
from postern.settings.console import missing_for_console
from postern.settings.role import Role
from postern.triggers.caller_tokens import with_caller_tokens
from postern.triggers.client_network import network_check
from postern.triggers.cors import preflights
from postern.triggers.gate import Gate
from postern.triggers.large_bodies import LargeBodies
from postern.triggers.pipeline import Pipeline, Start
from postern.triggers.reach import check_reach

if TYPE_CHECKING:
    from postern.assembly.gateways import GatewaysPart
    from postern.gateway.state import GatewayStates


def create_app(
    settings: Settings,
    *,
    local_tokens: TokenCommand | None = None,
    local_address: str = "",
    local_caller: LocalCaller = lambda _name, _policy: None,
    make_secret: MakeSecret | None = None,
    role: Role = Role.ALL,
    outside: Outside = NETWORK,
    start_writer: StartWriter | None = None,
) -> Application:
    """The application that `settings` describe: its parts in the order in which they start. They stop in reverse.

    `local_tokens` gives the commands that print tokens of a local tenant: with it, all callers see the documents of all
    triggers, and failures are logged with their tracebacks. `local_address` is the server's own address then, where the
    console is, whatever the public URL is, and `local_caller` says whom a token of a person there would name.
    `make_secret` makes a secret of this name in the vault of a local tenant. `role` says whether durable runs are
    executed here, and triggers served. `outside` is what the application reaches. `start_writer` starts the
    journal's writer where `outside` does not. Raises SettingsFault if a workflow needs a setting that is not set, and
    DatabaseFault if the database can never be used. A faulty workflow is no error: the others are served.
    """
    reached = replace(outside, start_writer=outside.start_writer or start_writer)
    base = foundation(settings, structlog.get_logger("postern"), reached)
    process, for_author = base.journal.node[-8:], local_tokens is not None
    console_on = not missing_for_console(settings, local_address)
    telemetry = telemetry_part(settings, process, base.log)
    audited, observed = audit_part(base), observed_part(base)
    revocation, senders = revocation_part(base), senders_part(base)
    grants = grants_part(base, local_address if console_on else None)
    runs = runs_part(base, for_author=for_author, pages=grants.address, beat_every=beat_every())
    durable = durable_part(base, runs, grants.address, executes=role is not Role.HTTP)
    schedules = schedules_part(base, runs, durable, fires=role is not Role.HTTP)
    failures = failures_part(base, runs, durable)
    findings = findings_part(base, durable, observed.observer)
    refusals = refusals_part(base, observed.observer.rejected)
    gateways = _gateways(base, runs, refusals)
    states: GatewayStates = gateways[0].states if gateways else tuple
    urls, review, large = signed_urls_part(base, make_secret), Once(lambda: _reviews(base)), LargeBodies()
    needs = ApiNeeds(runs, durable, refusals, grants, revocation, urls, review, large, states)
    api = api_part(base, needs, local_tokens)
    pipeline = replace(
        telemetry.noted(_pipeline(base, runs, durable, refusals, large), _gate(base, senders, urls, observed)),
        for_author=for_author,
        console_on=console_on,
        later=api.later,
    )
    traced = telemetry.around(pipeline)
    mcp = mcp_part(base, needs, api, pipeline, traced, serves=role is not Role.WORKER)
    watching = (audited, findings, observed, revocation, senders, urls)
    checked = (telemetry, *base.parts, *watching, grants, runs, durable, schedules, failures, refusals, api)
    readiness = readiness_of(checked)
    beside = Beside(runs, refusals, api, grants, revocation, urls, review, states, readiness)
    parts = (*checked, mcp, *gateways, _console(base, beside, Local(local_address, local_tokens, local_caller)))
    drains = runs.runner.end_events, durable.drain, mcp.drain, *(part.hub.drain for part in gateways)
    operations = operations_part(parts, readiness, process, runs.requests.settle, drains, telemetry.export)
    own_host, other_networks = own_host_of(settings, for_author), network_check(settings.allowed_networks)
    if role is Role.WORKER:
        parts = tuple(part if part in gateways else without_routes(part) for part in parts)
    on_triggers = no_trigger if role is Role.WORKER else traced
    return Application((*parts, operations), pipeline, base.catalog.catalog, own_host, other_networks, on_triggers)


def _reviews(base: Foundation) -> MakeReview:
    from postern.assembly.review import reviews_of  # for pages only

    return reviews_of(base).make


def _console(base: Foundation, beside: Beside, local: Local) -> Part:
    """The pages for people, or what says in the log why there are none."""
    if missing := missing_for_console(base.settings, local.address):
        return console_off(base, missing)
    return console_on(base, beside, local)


def _gateways(base: Foundation, runs: RunsPart, refusals: RefusalsPart) -> tuple["GatewaysPart", ...]:
    """The links of agents, which workers take too: their runs need tunnels. None without a gateway in the settings."""
    gateways = base.settings.gateways
    if not gateways:
        return ()
    from postern.assembly.gateways import gateways_part  # HTTP/2, for a server with gateways only

    return (gateways_part(base, runs, refusals, gateways),)


def _gate(base: Foundation, senders: SendersPart, urls: SignedUrlsPart, observed: ObservedPart) -> Gate:
    """What requests pass beside the access decision."""
    limits = limit_checks(base.settings, base.identity.identification.recall)
    return Gate(
        preflights(base.catalog.triggers),
        reach=check_reach,
        before=limits.before,
        sender=senders.sender(urls.sender),
        after=limits.after,
        body=senders.body(urls.still),
        admitted=observed.observer.admitted,
    )


def _pipeline(
    base: Foundation, runs: RunsPart, durable: DurablePart, refusals: RefusalsPart, large_bodies: LargeBodies
) -> Pipeline:
    """The six steps of a request, made of the parts."""
    return Pipeline(
        triggers=base.catalog.triggers,
        recall=base.identity.identification.recall,
        identify=base.identity.identification.identify,
        still=base.identity.still,
        start=_start(base, durable),
        refused=refusals.take,
        max_body_bytes=base.settings.max_body_bytes,
        log=base.log,
        count=runs.requests.count,
        client_id=base.settings.client_id,
        authority=authority(base.settings),
        large_bodies=large_bodies,
        stopping=lambda: runs.runner.room.closed,
    )


def _start(base: Foundation, durable: DurablePart) -> Start:
    """How the pipeline starts runs. Without a connection on behalf of callers nothing looks at their tokens again."""
    callers = base.connections.callers
    return with_caller_tokens(durable.of_request, callers) if callers is not None else durable.of_request


def own_host_of(settings: Settings, local: bool) -> OwnHost | None:
    """What checks the Host of requests; None if the server has no name of its own. With a local tenant all requests
    are checked."""
    if not local and not settings.public_url:
        return None
    return OwnHost(settings.public_url or "", always=local)


def create_app_from_environment(role: Role = Role.ALL) -> Application:
    """The application of one of several processes, with the settings that `postern serve` found."""
    settings = load_settings()
    configure_logs(log_format(settings.log_format))
    divide_streams()
    refuse_breakpoints()
    return create_app(settings, role=role)


def create_http_app_from_environment() -> Application:
    """The same for a process that executes no durable runs."""
    return create_app_from_environment(Role.HTTP)


def create_worker_app_from_environment() -> Application:
    """The same for a process that serves no triggers."""
    return create_app_from_environment(Role.WORKER)
