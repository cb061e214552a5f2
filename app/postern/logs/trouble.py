"""Says that something which is tried again and again fails: one line for each kind of error, until it works again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Trouble:
    """`write` writes the line `event`, with the type of the error as its `cause`. The error's text is left out, because
    it may hold a password."""

    def __init__(self, write: Callable[..., object], event: str) -> None:
        self._write = write
        self._event = event
        self._cause = ""

    @property
    def lasts(self) -> bool:
        """Whether the last attempt has failed."""
        return self._cause != ""

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One attempt: its error is logged, unless the attempt before had the same, and not raised."""
        try:
            yield
        except Exception as error:
            if self._cause != (cause := type(error).__name__):
                self._cause = cause
                self._write(self._event, cause=cause)
        else:
            self._cause = ""
