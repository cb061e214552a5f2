"""A rejected request, as the pipeline saw it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from postern.access import Check, Guarded, Via

_TEXT_LENGTH = 300


@dataclass(slots=True)  # not frozen: one is made for each rejected request
class Refusal:
    """A rejected request, as the pipeline saw it. `reason` is the name of the failed check, or the problem's code;
    `checks` are those that were made. `policy` is set if a token was required, which `headers` may have; `proved`
    means that it was verified. `via` is through what it came. The object is dropped as soon as it has been counted and
    examined."""

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
    via: Via | None = None


def as_text(value: Any) -> str:
    """What a check expected or found, as text for one line."""
    if value is None:
        return ""
    if isinstance(value, frozenset):
        value = sorted(value)
    return str(value)[:_TEXT_LENGTH]


def recorded_checks(recorded: Iterable[Any]) -> list[Check]:
    """The checks in a record of a refusal. What has another form, as a newer release may write it, is left out."""
    return [
        Check(
            str(each.get("name")),
            each.get("passed") is True,
            each.get("expected"),
            each.get("found"),
            hint=str(each.get("hint") or ""),
        )
        for each in recorded
        if isinstance(each, Mapping)
    ]
