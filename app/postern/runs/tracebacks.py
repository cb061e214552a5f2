"""The traceback of an author's exception, for operators: without local variables, from the author's own code on, and
without the calls of Postern in between."""

import concurrent.futures
import os
from pathlib import Path
from traceback import StackSummary, TracebackException
from types import TracebackType

import tenacity

from postern.journal.secured import kept_type
from postern.redaction import long_text_without_secrets

MOST_FRAMES = 50
"""Calls that are kept of each exception of a chain: the last ones."""
MOST_OF_A_LINE = 1000
"""Characters of a line that are kept: the text of an exception may have any length."""
MOST_LINES = 500
MOST_READ = 131_072
"""Characters of a longer one in which secrets are looked for."""

_OURS = tuple(
    f"{folder}{os.sep}"
    for folder in (Path(__file__).parents[1], Path(tenacity.__file__).parent, Path(concurrent.futures.__file__).parent)
)
"""Folders whose code stands between two calls of an author: of a step, for example."""


def traceback_of(error: BaseException, file: str, *, messages: bool) -> str:
    """The traceback as text, from the first call in `file` on, because the calls above it are Postern's. Those between
    and below the author's are left out too: what failed there is said by the exception. Without
    `messages` it has the types of the exceptions only, for workflows whose bodies are secured: a message may repeat
    a part of a body."""
    try:
        found = TracebackException(
            type(error), error, _from_file(error.__traceback__, file), limit=-MOST_FRAMES, compact=True
        )
        _leave_ours_out(found)
        parts = [*found.format()] if messages else _without_messages(found, kept_type(error, secured=True))
        lines = "".join(parts).splitlines()
        if len(lines) > MOST_LINES:  # a secret may begin in one of the lines that are left out
            lines = long_text_without_secrets("".join(parts), MOST_READ).splitlines()[-MOST_LINES:]
    except BaseException:  # an author's exception may fail to describe itself, in whatever way
        return ""
    return "\n".join(line[:MOST_OF_A_LINE] for line in lines)


def _from_file(first: TracebackType | None, file: str) -> TracebackType | None:
    found = first
    while found is not None and found.tb_frame.f_code.co_filename != file:
        found = found.tb_next
    return found or first


def _leave_ours_out(found: TracebackException) -> None:
    """Leave Postern's own calls out, of each exception of the chain in which there are others."""
    chain: TracebackException | None = found
    while chain is not None:
        if authors := [frame for frame in chain.stack if not frame.filename.startswith(_OURS)]:
            chain.stack = StackSummary.from_list(authors)
        chain = chain.__cause__ or chain.__context__


def _without_messages(found: TracebackException, kind: str) -> list[str]:
    return ["Traceback (most recent call last):\n", *found.stack.format(), kind]
