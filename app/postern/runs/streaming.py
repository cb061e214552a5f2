"""Replies that are sent while their run goes on: streams, events and files. The run ends when its reply is sent.

The record exists as Running before the first byte leaves. At the end it has how many bytes were sent and why no more
were, and nothing of what was sent.
"""

import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial
from os import PathLike, stat_result
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic_core import to_json

from postern.authoring.stream_makers import note_stream
from postern.authoring.streams import File, Stream, event_text, piece
from postern.authoring.workflow import Workflow
from postern.errors import Problem
from postern.journal.run import Outcome, Run, State
from postern.runs.claims import record_begun
from postern.runs.concurrency import Hold
from postern.runs.origin import holder
from postern.runs.outcomes import READER_GONE
from postern.runs.run_records import RunRecords
from postern.runs.threads import Threads
from postern.runs.underway import Entry

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a function in a thread of the run's workflow."""

LOOK_AGAIN = 0.5
"""Seconds until streams of events are looked for again, while the server stops."""

_STOPPED = "The server stopped while the reply was sent."
_PRIVATE = (".py", ".pyc", ".pyi")
"""Files of an author's folder that are never sent: code."""
_HOW = {State.SUCCEEDED: "complete", State.TIMED_OUT: "timed-out", State.INTERRUPTED: "shutting-down"}


class Sending:
    """A reply that is sent while its run goes on. `head_sent` says whether its caller has its status by now: from then
    on an error can only cut it off. `sent` counts bytes of content."""

    def __init__(self, outcome: Outcome) -> None:
        self.status = outcome.status
        self.headers = outcome.headers
        self.head_sent = False
        self.sent = 0

    async def close(self) -> None:
        """Nothing more is sent: release what it is made of."""


class Pieces(Sending):
    """Pieces of an iterator. With `at_once` the head is sent before there is a piece."""

    def __init__(self, outcome: Outcome, source: Stream, in_thread: InThread) -> None:
        super().__init__(outcome)
        self.at_once = source.events
        write = event_text if source.events else piece
        of_loop = hasattr(source.source, "__aiter__")
        self._steps: _Steps = (
            _LoopSteps(source.source, write) if of_loop else _ThreadSteps(source.source, write, in_thread)
        )

    async def next(self) -> bytes | None:
        """The next piece, None at the end. Raises what the author's iterator raises."""
        return await self._steps.next()

    async def close(self) -> None:
        """End the iterator, so that its `finally` runs."""
        await self._steps.close()


class WholeFile(Sending):
    """A file, which can be sent in parts."""

    def __init__(self, outcome: Outcome, file: File, path: Path, stat: stat_result, in_thread: InThread) -> None:
        super().__init__(outcome)
        self.path = path
        self.stat = stat
        self.filename = file.filename
        self._delete = file.delete
        self._in_thread = in_thread

    async def close(self) -> None:
        """Delete it if its author wants that."""
        if self._delete:
            await self._in_thread(lambda: self.path.unlink(missing_ok=True))


class _Steps:
    async def next(self) -> bytes | None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class _LoopSteps(_Steps):
    """The steps of an async iterator, on the event loop."""

    def __init__(self, source: Any, write: Callable[[object], bytes]) -> None:
        self._iterator: AsyncIterator[Any] = source.__aiter__()
        self._write = write

    async def next(self) -> bytes | None:
        try:
            value = await self._iterator.__anext__()
        except StopAsyncIteration:
            return None
        return self._write(value)

    async def close(self) -> None:
        if (close := getattr(self._iterator, "aclose", None)) is not None:
            await close()


class _ThreadSteps(_Steps):
    """The steps of a plain iterator, in threads of its workflow. One that is in a step cannot be stopped: its thread
    closes it after the step."""

    def __init__(self, source: Any, write: Callable[[object], bytes], in_thread: InThread) -> None:
        self._iterator = iter(source)
        self._write = write
        self._in_thread = in_thread
        self._lock = Lock()
        self._closing = False

    async def next(self) -> bytes | None:
        found: bytes | None = await self._in_thread(self._step)
        return found

    async def close(self) -> None:
        self._closing = True
        if not self._lock.locked():  # else its thread sees that it has to close it
            await self._in_thread(self._close)

    def _step(self) -> bytes | None:
        try:
            with self._lock:
                for value in self._iterator:
                    return self._write(value)
                return None
        finally:
            if self._closing:
                self._close()

    def _close(self) -> None:
        with self._lock:
            if (close := getattr(self._iterator, "close", None)) is not None:
                close()


async def sent_by(
    journal: RunRecords,
    threads: Threads,
    hold: Callable[[str], Hold | None],
    run: Run,
    outcome: Outcome,
    late: Callable[[Run], Awaitable[None]] | None,
) -> Outcome:
    """Send the reply, and return how the run ended. `hold` returns the place of a run by its id. `late` sends the
    reply; without it nobody reads it, and the iterator runs to its end all the same. Raises what the iterator raises,
    ReaderGone, and Problem if the run cannot be recorded."""
    source, in_thread = outcome.stream, partial(threads.run, run.workflow.name, caller=holder(run), hold=hold(run.id))
    if isinstance(source, File):
        path, stat = await in_thread(lambda: found_file(source.path, run.workflow))
        sending: Sending = WholeFile(outcome, source, path, stat, in_thread)
    else:
        sending = Pieces(outcome, source, in_thread)
    run.sending = sending
    note_stream(run.workflow.function)
    try:
        if not run.workflow.stateless:
            await record_begun(journal, run)
        if late is not None:
            await late(run)
        else:
            await drain(sending)
    finally:
        await sending.close()
    return Outcome(State.SUCCEEDED, sending.status, b"", sending.headers)


async def drain(sending: Sending) -> None:
    """Nobody reads this reply, as that of a run that was started again: its iterator runs to its end."""
    sending.head_sent = True
    if isinstance(sending, Pieces):
        while (found := await sending.next()) is not None:
            sending.sent += len(found)


def ended_stream(run: Run, outcome: Outcome) -> Outcome:
    """The outcome of a run whose reply was sent as a stream: with the status that its caller got, and how much of the
    content. The outcome itself if nothing of it was sent."""
    sending = run.sending
    if sending is None or not sending.head_sent:
        return outcome
    how = _HOW.get(outcome.state, outcome.error_type if outcome.error_type == READER_GONE else "failed")
    if outcome.state is State.CANCELLED and how != READER_GONE:
        how = "cancelled"
    if outcome.state is State.INTERRUPTED:
        outcome.error_type, outcome.error_message, outcome.shown = "shutting-down", _STOPPED, True
    outcome.content = to_json({"bytes": sending.sent, "ended": how})
    outcome.status, outcome.headers, outcome.stream = sending.status, sending.headers, sending
    return outcome


class EventStreams:
    """The streams of events among the runs in progress, which may be endless. `cut` has the ids of those that the stop
    of the server has cut off."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.cut: set[str] = set()
        self._entries = entries
        self._closed = False

    def end(self) -> None:
        """The server begins to stop: they are cut off now, and those that begin later soon."""
        for task, run, *_ in list(self._entries.values()):
            if isinstance(run.sending, Pieces) and run.sending.at_once and run.id not in self.cut:
                self.cut.add(run.id)
                task.cancel()
        if not self._closed:
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self.end, context=Context())

    def close(self) -> None:
        """The same, for the last time."""
        self._closed = True
        self.end()


def found_file(path: str | PathLike[str], workflow: Workflow) -> tuple[Path, stat_result]:
    """The file that a reply names, without links, and what the system says of it. Raises an error that says what to do
    if it is no file that a workflow may send."""
    folder = Path(inspect.unwrap(workflow.function).__code__.co_filename).parent.resolve()
    temporary = Path(tempfile.gettempdir()).resolve()
    try:
        found = (folder / path).resolve(strict=True)
        stat = found.stat()
    except (OSError, RuntimeError, ValueError) as error:
        raise FileNotFoundError(f"Reply.file(): there is no such file ({type(error).__name__})") from None
    if not found.is_file():
        raise ValueError("Reply.file(): it is no file")
    if found.is_relative_to(folder):
        within = found.relative_to(folder)
        if any(part.startswith(".") for part in within.parts) or found.suffix in _PRIVATE:
            raise PermissionError("Reply.file(): hidden files and Python files of the folder are not sent")
    elif not found.is_relative_to(temporary):
        raise PermissionError(
            "Reply.file(): the file is neither below the folder of the workflow's module nor in the folder for "
            "temporary files. Links count as what they lead to"
        )
    return found, stat


def check_replied(run: Run, unrecorded: Problem) -> None:
    """The end of a run is recorded later. Raises the problem for its caller, unless they have their reply."""
    if not is_replied(run):
        raise unrecorded from None


def is_replied(run: Run) -> bool:
    """Whether the caller of a run has its reply, or a part of it, from a stream."""
    return run.sending is not None and run.sending.head_sent
