"""What a run asks of people, and the names that it waits under."""

import re
from dataclasses import dataclass, field
from typing import Any

from postern.access import Access

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval that a run asks for: see `Context.approval`. `timeout` is in seconds, None for no limit."""

    name: str
    who: Access
    timeout: float | None
    data: Any = field(default=None, repr=False)
    self_approval: bool = False


def wait_name(name: object) -> str:
    """The name of a signal or approval: it is a part of a URL. Raises ValueError."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(
            f"name={name!r} cannot be a part of a URL: use lower-case letters, digits and single hyphens between them"
        )
    return str.__str__(name)
