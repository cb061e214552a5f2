"""Which server processes live on a database, seen from a command beside them."""

from collections.abc import Callable, Iterable
from time import monotonic, sleep

from sqlalchemy import Connection, Engine, inspect, select

from postern.journal.process_identity import lives, this_machine
from postern.journal.schema import nodes
from postern.journal.server_processes import BEAT_EVERY, ServerProcess

WATCHED = 2 * BEAT_EVERY + 1
"""Seconds for which nodes of other machines are watched: who lives beats at least once."""
LOOK_EVERY = 0.25


def registered(connection: Connection) -> list[ServerProcess]:
    """Every node that has a row."""
    if not inspect(connection).has_table(nodes.name):
        return []
    return [ServerProcess(*row) for row in connection.execute(select(nodes).order_by(nodes.c.id))]


def living_nodes(engine: Engine, watching: Callable[[int], object] = lambda _: None) -> list[ServerProcess]:
    """The nodes that live. Of this machine's that is known at once; how many others are watched is told beforehand,
    and takes up to WATCHED seconds."""

    def look() -> list[ServerProcess]:
        with engine.begin() as connection:
            return registered(connection)

    def wait() -> None:
        sleep(LOOK_EVERY)

    return living(look, wait, watching=watching)


def newcomers(before: Iterable[ServerProcess], now: Iterable[ServerProcess]) -> list[ServerProcess]:
    """Those that began or beat between two looks."""
    beats = {node.id: node.beat for node in before}
    return [node for node in now if beats.get(node.id) != node.beat]


def living(
    look: Callable[[], list[ServerProcess]],
    wait: Callable[[], object],
    *,
    watching: Callable[[int], object] = lambda _: None,
    machine: str = "",
    alive: Callable[[str], bool] = lives,
    clock: Callable[[], float] = monotonic,
) -> list[ServerProcess]:
    """The nodes of `look` that show a sign of life: a process of this machine that is there, or a beat of another's.
    One that begins meanwhile lives too."""
    here = machine or this_machine()
    first = look()
    found = {node.id: node for node in first if node.machine == here and alive(node.process)}
    silent = {node.id for node in first if node.machine != here}
    if silent:
        watching(len(silent))
    until = clock() + WATCHED
    while silent and clock() < until:
        wait()
        found |= {node.id: node for node in newcomers(first, look())}
        silent -= found.keys()
    return sorted(found.values(), key=lambda node: node.id)
