"""The state of a grant, from its row and the time."""

from typing import Any

from postern.connections.grants.reasons import REASONS
from postern.connections.grants.states import SOON, Shown, condition
from postern.journal.grants import State
from tests.grants import DAY, NOW, grant
from tests.table import table

STATES: list[tuple[str, dict[str, Any], Shown, str, float | None]] = [
    ("connected", {}, Shown.CONNECTED, "", None),
    ("access-ended", {"access_expires_at": NOW - DAY}, Shown.CONNECTED, "", None),
    ("long", {"refresh_expires_at": NOW + SOON + 1}, Shown.CONNECTED, "", NOW + SOON + 1),
    ("soon", {"refresh_expires_at": NOW + SOON}, Shown.EXPIRING, "", NOW + SOON),
    ("over", {"refresh_expires_at": NOW}, Shown.BROKEN, "expired", NOW),
    ("remark", {"reason": "fewer-scopes"}, Shown.CONNECTED, "fewer-scopes", None),
    ("not-renewed", {"reason": "no-refresh-token", "access_expires_at": NOW + SOON * 9}, Shown.EXPIRING, "", None),
    ("not-renewed-over", {"reason": "no-refresh-token", "access_expires_at": NOW}, Shown.BROKEN, "", None),
    ("never-ends", {"reason": "no-refresh-token"}, Shown.CONNECTED, "no-refresh-token", None),
    ("broken", {"state": State.BROKEN, "reason": "not-connected"}, Shown.BROKEN, "not-connected", None),
    ("broken-before", {"state": State.BROKEN, "reason": "x", "refresh_expires_at": NOW}, Shown.BROKEN, "x", None),
]


@table(("values", "state", "reason", "ends_at"), [row[1:] for row in STATES], ids=[r[0] for r in STATES])
def test_the_state_follows_from_the_row_and_the_time(
    values: dict[str, Any], state: Shown, reason: str, ends_at: float | None
):
    found = condition(grant(**values), NOW)
    assert found.state is state
    assert found.reason == (reason or values.get("reason", ""))
    if values.get("reason") != "no-refresh-token":
        assert found.ends_at == ends_at
    assert found.usable is (state in (Shown.CONNECTED, Shown.EXPIRING))


def test_a_grant_that_is_missing_is_needed():
    found = condition(None, NOW)
    assert (found.state, found.reason, found.usable) == (Shown.NEEDED, "not-connected", False)
    assert (found.text, found.fix) == REASONS["not-connected"]


def test_a_broken_grant_always_says_what_to_do():
    """Also with a code that this release does not know: another server process may be newer."""
    found = condition(grant(state=State.BROKEN, reason="of-a-later-release"), NOW)
    assert found.text
    assert found.fix
