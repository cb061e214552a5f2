"""W3C Trace Context: which trace a run belongs to, and how it is passed on. Pure functions.

Source: W3C, "Trace Context" (level 2), sections 3.2 and 3.3. `tracestate` is not passed on; the specification leaves
that to each participant.
"""

import re
from contextvars import ContextVar
from hashlib import sha256
from typing import NamedTuple

_FIELD = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE = "0" * 32
_NO_PARENT = "0" * 16
_SAMPLED = 0x01
_KNOWN_FLAGS = 0x03
"""Sampled, and random trace id. In later versions only the first is known (section 3.2.4)."""


class Trace(NamedTuple):
    """A parsed `traceparent`: ids of 32 and 16 lower-case hexadecimal digits, and the flags known here."""

    trace_id: str
    parent_id: str
    flags: int


RUN: ContextVar[tuple[str, Trace | None] | None] = ContextVar("run", default=None)
"""The id of the current run, and the trace that its request named. None outside of runs."""


def parse(field: bytes) -> Trace | None:
    """The trace that a `traceparent` field names. None if the field is not valid: it is then ignored."""
    found = _FIELD.fullmatch(field)
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    trace = Trace(
        trace_id.decode(), parent_id.decode(), int(flags, 16) & (_KNOWN_FLAGS if version == b"00" else _SAMPLED)
    )
    return None if trace.trace_id == _NO_TRACE or trace.parent_id == _NO_PARENT else trace


def trace_id_of(run_id: str, trace: Trace | None = None) -> str:
    """The trace id of a run: the one that its request named, else a new one.

    A new one is a digest of the run's id and not the id itself: a trace id is sent to other systems, and the id of an
    anonymous caller's run is enough to read its record.
    """
    return trace.trace_id if trace is not None else _digest(run_id)[:32]


def traceparent(run_id: str, trace: Trace | None = None) -> str:
    """The `traceparent` for calls that a run makes: its trace id, and a parent id derived from the run's id. If the run
    began the trace, the flag is sampled, because the run is recorded."""
    flags = trace.flags if trace is not None else _SAMPLED
    return f"00-{trace_id_of(run_id, trace)}-{_digest(run_id)[32:48]}-{flags:02x}"


def _digest(run_id: str) -> str:
    return sha256(run_id.encode()).hexdigest()
