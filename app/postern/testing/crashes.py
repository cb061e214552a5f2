"""Crashes of durable runs: the server process ends after a step, and another one goes on."""

from postern.testing.failing import KitFailure
from postern.testing.result import PATIENCE
from postern.testing.session import SESSION


def crash_after(step: str) -> None:
    """End the server process when this step of a durable run is done, before the workflow's code goes on. Nothing runs
    then until `resume()`."""
    server = SESSION.server
    server.spent = True  # no other test has what is left of it
    server.crashes.plan(step)


def resume(seconds: float = PATIENCE) -> None:
    """Start the server again on the same database, once it has crashed: its durable runs go on. A step that was done
    before must not run again, else the test fails. The crash has so many real seconds to come."""
    server = SESSION.server
    if not server.crashes.happened.wait(seconds):
        wanted, done = server.crashes.step, ", ".join(dict.fromkeys(server.crashes.done.values())) or "none"
        if wanted is None:
            raise KitFailure('Write crash_after("STEP") before the call.')
        raise KitFailure(f"The step {wanted} was not done within {seconds:g} s, so nothing crashed. Done: {done}.")
    SESSION.restart()
