"""A rejected request, as the pipeline saw it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from postern.access import Check, Guarded

_TEXT_LENGTH = 300


@dataclass(slots=True)  # not frozen: one is made for each rejected request
class Refusal:
    """A rejected request, as the pipeline saw it. `reason` is the name of the failed check, or the problem's code;
    `checks` are those that were made. `policy` is set if a token was required, which `headers` may have; `proved`
    means that it was verified. The object is dropped as soon as it has been counted and examined."""

    request_id: str
    reason: str
    code: str
    status: int
    workflow: str
    client_address: str
    checks: tuple[Check, ...] = field(default=(), repr=False)
    proved: bool = False
    policy: Guarded | None = field(default=None, repr=False)
    headers: Iterable[tuple[bytes, bytes]] = field(default=(), repr=False)


def as_text(value: Any) -> str:
    """What a check expected or found, as text for one line."""
    if value is None:
        return ""
    if isinstance(value, frozenset):
        value = sorted(value)
    return str(value)[:_TEXT_LENGTH]
