"""The tokens of runs in progress: forgotten with the run, and when the access of their caller ends."""

from typing import Any

from postern.access import Caller, tenant_users
from postern.connections.on_behalf_of.caller_token import CallerToken, value_of
from postern.connections.on_behalf_of.callers import Callers
from postern.settings import load_settings

LISA = Caller("user", object_id="lisa", tenant_id="t")
GIL = Caller("user", object_id="gil", tenant_id="t")


class Shared:
    """In place of what the runs of an entry share."""

    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def test_a_run_in_progress_gets_no_further_token_once_the_access_of_its_caller_ends():
    callers = Callers(load_settings({}), lambda: None)  # type: ignore[arg-type,return-value]
    of_lisa, of_gil = CallerToken("lisa's"), CallerToken("gil's")
    access = tenant_users(apps=False)
    callers.begins("1", access, LISA, of_lisa)
    callers.begins("2", access, GIL, of_gil)
    shared: Any = Shared()
    callers._entries["connections.me", None] = shared  # type: ignore[index]
    callers.revoked(lambda caller: caller.object_id == "lisa")
    assert (value_of(of_lisa), value_of(of_gil)) == ("", "gil's")
    assert shared.forgotten == 1
    assert callers.in_progress == 2
