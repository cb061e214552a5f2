"""Which server processes live on a database, seen from a command beside them."""

from collections.abc import Callable
from time import monotonic, sleep

from sqlalchemy import Connection, Engine, inspect, select

from app.runs.journal.schema import nodes
from app.runs.machine import lives, this_machine
from app.runs.nodes import BEAT_EVERY, Node

WATCHED = 2 * BEAT_EVERY + 1
"""Seconds for which nodes of other machines are watched: who lives beats at least once."""
LOOK_EVERY = 0.25


def registered(connection: Connection) -> list[Node]:
    """Every node that has a row."""
    if not inspect(connection).has_table(nodes.name):
        return []
    return [Node(*row) for row in connection.execute(select(nodes).order_by(nodes.c.id))]


def living_nodes(engine: Engine, watching: Callable[[int], object] = lambda _: None) -> list[Node]:
    """The nodes that live. Of this machine's that is known at once; how many others are watched is told beforehand,
    and takes up to WATCHED seconds."""

    def look() -> list[Node]:
        with engine.begin() as connection:
            return registered(connection)

    def wait() -> None:
        sleep(LOOK_EVERY)

    return living(look, wait, watching=watching)


def living(
    look: Callable[[], list[Node]],
    wait: Callable[[], object],
    *,
    watching: Callable[[int], object] = lambda _: None,
    machine: str = "",
    alive: Callable[[str], bool] = lives,
    clock: Callable[[], float] = monotonic,
) -> list[Node]:
    """The nodes of `look` that show a sign of life: a process of this machine that is there, or a beat of another's."""
    here = machine or this_machine()
    found = look()
    alive_ids = {node.id for node in found if node.machine == here and alive(node.process)}
    beats = {node.id: node.beat for node in found if node.machine != here}
    if beats:
        watching(len(beats))
    until = clock() + WATCHED
    while beats and clock() < until:
        wait()
        moved = {node.id for node in look() if beats.get(node.id, node.beat) != node.beat}
        alive_ids |= moved
        beats = {node_id: beat for node_id, beat in beats.items() if node_id not in moved}
    return [node for node in found if node.id in alive_ids]
