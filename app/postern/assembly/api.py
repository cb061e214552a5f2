"""The run API and the documents of the triggers."""

from collections.abc import Iterable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from postern import api
from postern.api.departure import Page
from postern.api.docs import Docs, TokenCommand
from postern.api.resubmit import resubmitter
from postern.api.run_actions import Resubmit, Underway
from postern.assembly.catalog import CatalogPart
from postern.assembly.grants import GrantsPart
from postern.assembly.identity import IdentityPart, installation_of
from postern.assembly.part import Part
from postern.assembly.refusals import RefusalsPart
from postern.assembly.runs import RunsPart
from postern.journal.journal import Journal
from postern.journal.reading.records import RunRecord, underway_record
from postern.runs.apart import apart
from postern.settings import Settings
from postern.triggers.large_bodies import LargeBodies


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPart(Part):
    """The run API. `resubmit` starts a run again, and `underway` finds one of this process that has not ended."""

    resubmit: Resubmit
    underway: Underway


def api_part(
    settings: Settings,
    journal: Journal,
    identity: IdentityPart,
    catalog: CatalogPart,
    runs: RunsPart,
    refusals: RefusalsPart,
    grants: GrantsPart,
    log: FilteringBoundLogger,
    local_tokens: TokenCommand | None,
    large_bodies: LargeBodies,
    more: Iterable[tuple[str, str, Page]] = (),
) -> ApiPart:
    """`/runs`, `/refusals`, `/workflows`, `/connections`, `/openapi.json`, `/docs`, and `more` pages of other parts by
    method and path. With `local_tokens`, for a local tenant, all callers see the documents of all triggers."""
    installation = installation_of(settings)
    identify = identity.identification.identify
    docs = Docs(installation, identify, catalog.snapshot, local_tokens)

    def underway(run_id: str) -> RunRecord | None:
        run = runs.runner.underway(run_id)
        return underway_record(run, journal.node) if run is not None else None

    resubmit = resubmitter(catalog.snapshot, apart(runs.runner.start), large_bodies)
    routes = api.routes(
        read=journal.read,
        write=journal.write,
        identify=identify,
        cancel=runs.runner.cancel,
        underway=underway,
        resubmit=resubmit,
        snapshot=catalog.snapshot,
        installation=installation,
        refused=refusals.take,
        log=log,
        grants=grants.actions,
        connect_at=grants.address,
        more=(*docs.pages, *more),
        console_on=bool(grants.address),
    )
    return ApiPart(routes=tuple(routes), resubmit=resubmit, underway=underway)
