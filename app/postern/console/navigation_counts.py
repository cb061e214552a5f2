"""What waits for the person who is signed in, beside the words of the navigation."""

from collections.abc import Mapping

from postern.api.approval_actions import ApprovalActions
from postern.console.page import Visit, unproved
from postern.console.waiting_approvals import Waiting, waiting_number
from postern.errors import Problem


class NavigationCounts:
    """How many approvals wait for a person, by one short read for each whole page. `approvals` are the actions on them,
    None if there are none."""

    def __init__(self, approvals: ApprovalActions | None) -> None:
        self._approvals = approvals

    async def of(self, visit: Visit) -> Mapping[str, str]:
        """The counts by the keys of their entries. There is none while the journal cannot be read: the page says so."""
        if self._approvals is None or visit.partial:
            return {}
        try:
            found = await waiting_number(self._approvals, unproved(visit.viewer.caller), visit.holder)
        except Problem:
            return {}
        return {"approvals": shown(found)} if found.number else {}


def shown(found: Waiting) -> str:
    """The count as it is shown. It was made of the oldest ones: there may be more."""
    return f"{found.number}+" if found.more else str(found.number)
