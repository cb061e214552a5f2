"""What the durable engine works with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from postern.catalog import Trigger
from postern.durable.seals import Seals
from postern.journal.run import Run
from postern.runs.threads import Threads

ReadArguments = Callable[[Trigger, Run], Awaitable[Mapping[str, Any]]]
"""Reads the arguments of a function from its request again. Raises Problem if they do not fit any more."""


def _just_now() -> float:
    return 0.0


async def _at_once(_: float) -> None:
    return


@dataclass(frozen=True, slots=True)
class Works:
    """What the engine works with. `read` and `write` are the journal's, and `ended` is called with each run that has
    ended. `beat_age` is the age of this process's last committed beat, in seconds. `quiet` is the journal's too: it
    returns when no query runs. A reply of at most `most_kept` bytes is kept as a whole without a key."""

    read: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    write: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    triggers: Callable[[], Mapping[str, Trigger]]
    arguments: ReadArguments
    seals: Seals
    threads: Threads
    ended: Callable[[Run], None]
    pages: str = ""
    beat_age: Callable[[], float] = _just_now
    quiet: Callable[[float], Awaitable[None]] = _at_once
    most_kept: int = 1024 * 1024


def digest_of(trigger: Trigger | None) -> str:
    """The digest of the code of a workflow: its file and the helper modules. "" if there is none."""
    return "" if trigger is None else f"{trigger.sha256}.{trigger.helpers_sha256}"
