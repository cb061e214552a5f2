"""The running server processes, as a command finds them."""

from dataclasses import replace

from postern.journal.live_processes import WATCHED, living
from postern.journal.server_processes import BEAT_EVERY, ServerProcess

HERE = [ServerProcess("a", "here", "1:1", 0.0, 5), ServerProcess("b", "here", "2:1", 0.0, 5)]
AWAY = [ServerProcess("c", "away", "1:1", 0.0, 5), ServerProcess("d", "away", "2:1", 0.0, 5)]


class Watch:
    """Server processes that are looked at repeatedly: the named ones beat each time. The clock does not wait."""

    def __init__(self, nodes: list[ServerProcess], beating: str = "") -> None:
        self.nodes, self.beating, self.now, self.watched = nodes, beating, 0.0, 0

    def look(self) -> list[ServerProcess]:
        self.nodes = [replace(node, beat=node.beat + (node.id in self.beating)) for node in self.nodes]
        return self.nodes

    def wait(self) -> None:
        self.now += 1.0

    def found(self) -> list[str]:
        def watching(count: int) -> None:
            self.watched = count

        nodes = living(
            self.look,
            self.wait,
            watching=watching,
            machine="here",
            alive=lambda process: process == "1:1",
            clock=lambda: self.now,
        )
        return [node.id for node in nodes]


def test_a_process_of_this_machine_lives_or_not_without_a_wait():
    watch = Watch(HERE)
    assert watch.found() == ["a"]
    assert (watch.now, watch.watched) == (0.0, 0)


def test_a_node_elsewhere_lives_if_it_beats():
    watch = Watch(HERE + AWAY, beating="d")
    assert watch.found() == ["a", "d"]
    assert watch.watched == 2


def test_it_is_watched_for_longer_than_a_beat_takes():
    watch = Watch(AWAY)
    assert watch.found() == []
    assert 2 * BEAT_EVERY < WATCHED <= watch.now


def test_a_node_that_begins_while_others_are_watched_lives():
    watch = Watch(AWAY[:1])
    look, looks = watch.look, iter(range(9))
    watch.look = lambda: look() + HERE[1:] * (next(looks, 9) > 3)  # type: ignore[method-assign]
    assert watch.found() == ["b"]


def test_no_process_is_waited_for_once_all_have_beaten():
    watch = Watch(AWAY, beating="cd")
    assert watch.found() == ["c", "d"]
    assert watch.now == 1.0
