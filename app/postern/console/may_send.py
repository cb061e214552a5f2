"""Whether the page of a run offers to send a signal."""

from postern.access import Refused
from postern.api.run_actions import Seen
from postern.api.signal_actions import check_sender
from postern.console.page import Visit, unproved
from postern.console.services import Services
from postern.errors import Problem


def may_send(services: Services, visit: Visit, seen: Seen) -> bool:
    """Whether this person may send signals to a run that has not ended."""
    if services.signals is None or seen.record.durable is None or seen.record.ended:
        return False
    trigger = services.snapshot().triggers.get(seen.record.workflow)
    try:
        check_sender(seen.record, trigger, seen.standing, unproved(visit.viewer.caller))
    except (Problem, Refused):
        return False
    return True
