"""W3C Trace Context: which trace a run belongs to, and how it is passed on. Pure functions.

Source: W3C, "Trace Context" (level 2), sections 3.2 and 3.3.
"""

import re
from contextvars import ContextVar
from hashlib import sha256
from typing import NamedTuple

_FIELD = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE = "0" * 32
_NO_PARENT = "0" * 16
SAMPLED = 0x01
"""The flag of a trace that is kept."""
_KNOWN_FLAGS = 0x03
"""Sampled, and random trace id. In later versions only the first is known (section 3.2.4)."""


_MEMBER = re.compile(r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
MOST_MEMBERS = 32
LONGEST_STATE = 512
"""Characters of a `tracestate` that are passed on (section 3.3.1.5)."""
LONG_MEMBER = 128
_MOST_READ = 8192


class Trace(NamedTuple):
    """A parsed `traceparent`: ids of 32 and 16 lower-case hexadecimal digits, and the flags known here. `state` is the
    `tracestate` to pass on, "" for none."""

    trace_id: str
    parent_id: str
    flags: int
    state: str = ""


RUN: ContextVar[tuple[str, Trace | None] | None] = ContextVar("run", default=None)
"""The id of the current run, and the trace that its request named. None outside of runs."""

SECURED: ContextVar[bool] = ContextVar("secured", default=False)
"""Whether the workflow of the current run has `secure_inputs` or `secure_outputs`: nothing that its code prints or logs
is kept."""


def parse(field: bytes, state: bytes = b"") -> Trace | None:
    """The trace that a `traceparent` field names, with its `tracestate`. None if the field is not valid: it is then
    ignored, and so is the `tracestate`."""
    found = _FIELD.fullmatch(field)
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    trace = Trace(
        trace_id.decode(),
        parent_id.decode(),
        int(flags, 16) & (_KNOWN_FLAGS if version == b"00" else SAMPLED),
        parse_state(state) if state else "",
    )
    return None if trace.trace_id == _NO_TRACE or trace.parent_id == _NO_PARENT else trace


def parse_state(field: bytes) -> str:
    """The `tracestate` to pass on. "" if it is not valid: it is then discarded as a whole. Of a long one, long members
    are left out first, and then the last ones (section 3.3.1.5)."""
    if len(field) > _MOST_READ:
        return ""
    members = [member for each in field.decode("latin-1").split(",") if (member := each.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in found if match is not None}
    if len(members) > MOST_MEMBERS or len(keys) < len(members):
        return ""
    if _length(members) > LONGEST_STATE:
        members = [member for member in members if len(member) <= LONG_MEMBER]
    while _length(members) > LONGEST_STATE:
        members.pop()
    return ",".join(members)


def _length(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1


def trace_id_of(run_id: str, trace: Trace | None = None) -> str:
    """The trace id of a run: the one that its request named, else a new one.

    A new one is a digest of the run's id and not the id itself: a trace id is sent to other systems, and the id of an
    anonymous caller's run is enough to read its record.
    """
    return trace.trace_id if trace is not None else _digest(run_id)[:32]


def traceparent(run_id: str, trace: Trace | None = None) -> str:
    """The `traceparent` for calls that a run makes: its trace id, and a parent id derived from the run's id. If the run
    began the trace, the flag is sampled, because the run is recorded."""
    flags = trace.flags if trace is not None else SAMPLED
    return f"00-{trace_id_of(run_id, trace)}-{run_span_id(run_id)}-{flags:02x}"


def run_span_id(run_id: str) -> str:
    """The id of the span of a run: the parent id of the calls that it makes."""
    return _digest(run_id)[32:48]


def request_span_id(request_id: str) -> str:
    """The id of the span of a request, which is the parent of its run's."""
    return _digest(request_id)[48:64]


def _digest(run_id: str) -> str:
    return sha256(run_id.encode()).hexdigest()
