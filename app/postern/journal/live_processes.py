"""Finds the server processes that are running on a database, from a command."""

from collections.abc import Callable, Iterable
from time import monotonic, sleep

from sqlalchemy import Connection, Engine, inspect

from postern.journal.process_identity import lives, this_machine
from postern.journal.schema import nodes
from postern.journal.server_processes import BEAT_EVERY, ServerProcess, registered_processes

WATCHED = 2 * BEAT_EVERY + 1
"""Seconds for which server processes of other machines are watched: a running one beats at least once."""
LOOK_EVERY = 0.25


def registered(connection: Connection) -> list[ServerProcess]:
    """Every server process that has a row."""
    if not inspect(connection).has_table(nodes.name):
        return []
    return registered_processes(connection)


def live_processes(engine: Engine, watching: Callable[[int], object] = lambda _: None) -> list[ServerProcess]:
    """The server processes that are running. For those of this machine that is known at once. Others are watched for up
    to WATCHED seconds; `watching` gets their number beforehand."""

    def look() -> list[ServerProcess]:
        with engine.begin() as connection:
            return registered(connection)

    def wait() -> None:
        sleep(LOOK_EVERY)

    return living(look, wait, watching=watching)


def newcomers(before: Iterable[ServerProcess], now: Iterable[ServerProcess]) -> list[ServerProcess]:
    """The server processes that started or beat between two looks."""
    beats = {process.id: process.beat for process in before}
    return [process for process in now if beats.get(process.id) != process.beat]


def living(
    look: Callable[[], list[ServerProcess]],
    wait: Callable[[], object],
    *,
    watching: Callable[[int], object] = lambda _: None,
    machine: str = "",
    alive: Callable[[str], bool] = lives,
    clock: Callable[[], float] = monotonic,
) -> list[ServerProcess]:
    """The server processes of `look` that are running: a process of this machine that exists, or one of another
    machine that beats. One that starts meanwhile counts too."""
    here = machine or this_machine()
    first = look()
    found = {each.id: each for each in first if each.machine == here and alive(each.process)}
    silent = {each.id for each in first if each.machine != here}
    if silent:
        watching(len(silent))
    until = clock() + WATCHED
    while silent and clock() < until:
        wait()
        found |= {each.id: each for each in newcomers(first, look())}
        silent -= found.keys()
    return sorted(found.values(), key=lambda each: each.id)
