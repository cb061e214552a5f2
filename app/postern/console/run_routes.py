"""The pages about runs, with what they share."""

from postern.api.run_actions import RunActions
from postern.console.page import PageRoute
from postern.console.parked import Parked
from postern.console.run_bulk import RunBulk
from postern.console.run_changes import RunChanges
from postern.console.run_pages import RunPage
from postern.console.run_resume import RunResume
from postern.console.run_signal import RunSignal
from postern.console.runs import Runs
from postern.console.services import Services


def run_routes(services: Services) -> tuple[PageRoute, ...]:
    """The list of runs, a run, cancel, resubmit, resume and signal."""
    actions = RunActions(
        services.read,
        services.write,
        services.cancel,
        services.resubmit,
        services.snapshot,
        services.log,
        services.now,
        services.run_audit,
        services.durable,
    )
    pages = (
        Runs(services),
        Parked(services),
        RunBulk(services, actions),
        RunPage(services, actions),
        RunChanges(services, actions),
        RunResume(services, actions),
        RunSignal(services),
    )
    return tuple(route for page in pages for route in page.routes)
