"""One look for all runs that wait in a server process."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.durable import wakes
from postern.durable.turns import Turns
from postern.durable.waits import Waits
from postern.durable.wakes import Wakes

pytestmark = pytest.mark.anyio


async def write(_: Any) -> Any:
    raise AssertionError


class Woken:
    """An execution that waits."""

    def __init__(self) -> None:
        self.times = 0

    @property
    def woken(self) -> "Woken":
        return self

    def set(self) -> None:
        self.times += 1


async def test_there_is_no_look_while_no_run_waits():
    reads: list[Any] = []

    async def read(query: Any) -> list[str]:
        reads.append(query)
        return ["1", "2"]

    waits, one = Waits(write, Turns(1)), Woken()
    looking = Wakes(waits, read, "here")
    await looking.look()
    assert reads == []
    listening: dict[str, Any] = waits.listening
    listening["1"] = one
    await looking.look()
    assert (len(reads), one.times) == (1, 1)


async def test_a_look_that_fails_is_logged_once_without_its_text_and_followed_by_others(
    monkeypatch: pytest.MonkeyPatch,
):
    """Its text may hold a password."""
    monkeypatch.setattr(wakes, "EVERY", 0.0)
    looks: list[int] = []

    async def read(_: Any) -> list[str]:
        looks.append(1)
        if len(looks) == 5:
            raise KeyboardInterrupt
        raise OSError("password=hunter2")

    waits = Waits(write, Turns(1))
    listening: dict[str, Any] = waits.listening
    listening["1"] = Woken()
    with capture_logs() as logs, pytest.raises(KeyboardInterrupt):
        await Wakes(waits, read, "here").run()
    assert logs == [{"event": "durable-runs-not-woken", "cause": "OSError", "log_level": "error"}]
    assert len(looks) == 5
