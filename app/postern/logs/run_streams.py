"""Standard output and standard error, of which runs have their own parts.

What code prints outside of a run goes where it went. What the code of a run prints is collected to whole lines, which
are logged with the run's id and kept with its record. On a terminal they are shown as they are, behind the end of the
run's id.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from postern.logs.bounds import MOST_READ
from postern.logs.logs import is_for_people, log_printed
from postern.logs.run_output import Said, Source, hide, keep
from postern.logs.run_threads import follow_threads, leave_threads
from postern.plain_text import plain
from postern.redaction import long_text_without_secrets
from postern.trace import RUN, SECURED

MOST_UNFINISHED = 8192
"""Characters without a line break that are collected: more of them are a line."""
LAST_PART = 512
"""Characters of such a line that wait for what follows."""
MOST_BEGUN = 1000
"""Lines without an end that are collected: the oldest of more of them is left out."""
SHORT = 4
"""The last characters of a run's id, by which people know it."""

HIDDEN = "what this run prints is only counted: its workflow has secure_inputs or secure_outputs"

BEGUN: dict[tuple[str, Source], tuple[str, bool]] = {}
"""The beginnings of lines by run, and whether the run is secured."""

_lock = Lock()


class RunStream:
    """A stream in front of `original`. What is not written in a run is passed on unchanged."""

    def __init__(self, original: Any, source: Source) -> None:
        self.original = original
        self.source = source
        self._noted = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def write(self, text: str) -> int:
        """Write it, or collect it for the run."""
        run = RUN.get()
        if run is None and SECURED.get():  # a validator of a secured workflow, whose run has not begun
            return len(text)
        if run is None or not isinstance(text, str):
            written: int = self.original.write(text)
            return written
        whole = _whole_lines((run[0], self.source), text, secured=SECURED.get())
        if whole is not None:
            self.show(run[0], whole, secured=SECURED.get())
        return len(text)

    @property
    def buffer(self) -> "RunBytes":
        """The stream of bytes, with the same division."""
        return RunBytes(self, self.original.buffer)

    def detach(self) -> "RunBytes":
        """The stream of bytes. This one goes on: it belongs to the whole process."""
        return self.buffer

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def show(self, run_id: str, text: str, *, secured: bool) -> None:
        """Log whole lines of a run, and keep them with it. Of a secured run they are only counted."""
        if secured:
            hide(run_id, text.count("\n") + 1, self.source)
            if is_for_people() and self._noted != run_id:
                self._noted = run_id
                self._show(run_id, HIDDEN)
            return
        clean = plain(long_text_without_secrets(_as_seen(text), MOST_READ), lines=True)
        keep(run_id, Said(time.time(), self.source, clean))
        if is_for_people():
            self._show(run_id, clean)
        else:
            log_printed(run_id, self.source, clean)

    def _show(self, run_id: str, text: str) -> None:
        before = f"[{run_id[-SHORT:]}] "
        self.original.write("".join(f"{before}{line}\n" for line in text.split("\n")))
        self.original.flush()


class RunBytes:
    """The bytes of a stream, in front of `original`. Those that a run writes are text of the run, in the encoding of
    the stream. What is no text is shown as U+FFFD."""

    def __init__(self, stream: RunStream, original: Any) -> None:
        self.original = original
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    @property
    def raw(self) -> "RunBytes":
        """The same: it has no buffer of its own."""
        return self

    def write(self, content: Any) -> int:
        """Write them, or collect them for the run."""
        if RUN.get() is None and not SECURED.get():
            written: int = self.original.write(content)
            return written
        data = bytes(memoryview(content))
        self._stream.write(data.decode(getattr(self._stream, "encoding", None) or "utf-8", "replace"))
        return len(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """It stays open, because it belongs to the whole process."""


def divide_streams() -> None:
    """From now on, runs of this process have their own parts of standard output and standard error."""
    follow_threads()
    if not isinstance(sys.stdout, RunStream):
        sys.stdout, sys.stderr = RunStream(sys.stdout, Source.STDOUT), RunStream(sys.stderr, Source.STDERR)


@contextmanager
def run_streams() -> Iterator[None]:
    """The same meanwhile."""
    before = sys.stdout, sys.stderr
    divide_streams()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        if not isinstance(sys.stdout, RunStream):
            leave_threads()


def finish_lines(run_id: str) -> None:
    """The run has ended: its lines without an end are complete."""
    for source, stream in ((Source.STDOUT, sys.stdout), (Source.STDERR, sys.stderr)):
        with _lock:
            text, secured = BEGUN.pop((run_id, source), ("", False))
        if text and isinstance(stream, RunStream):
            stream.show(run_id, text, secured=secured)


def _whole_lines(key: tuple[str, Source], text: str, *, secured: bool) -> str | None:
    """What was written up to here, without its last line break; None if it does not end with one. A `print` of several
    lines is one text, so that a secret which has several lines is found. Of one that is too long, the last part waits
    without its secrets: the value behind a name may be still to come."""
    with _lock:
        text = BEGUN.pop(key, ("", False))[0] + text
        if text.endswith("\n"):
            return text.removesuffix("\n")
        whole = ""
        if len(text) > MOST_UNFINISHED:
            text = text if secured else long_text_without_secrets(text, MOST_READ)
            whole, text = text[:-LAST_PART], text[-LAST_PART:]
        if text:
            BEGUN[key] = text, secured
            if len(BEGUN) > MOST_BEGUN:
                del BEGUN[next(iter(BEGUN))]
    return whole or None


def _as_seen(text: str) -> str:
    """The text as a terminal shows it: a line that was written over, as progress bars do, is its last form."""
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
