"""What one test has of the kit: its stubs, secrets and failures."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postern.ids import new_id
from postern.testing.failing import KitFailure
from postern.testing.stubs import Stubs

if TYPE_CHECKING:
    from concurrent.futures import Future

    from postern.http_client import Response

_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class Scene:
    """`connections` and `triggers` have stubs by name, `secrets` values. `failures` make the test fail. `address` is
    that of its callers: one of its own, so that the test has its own share of what the server limits by address.
    Records of its runs have higher ids than `first`. It sent idempotency keys if it is `keyed`. `replies` come to the
    requests that it sent."""

    connections: dict[str, Stubs] = field(default_factory=lambda: defaultdict(Stubs))
    triggers: dict[str, Stubs] = field(default_factory=lambda: defaultdict(Stubs))
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    failures: list[KitFailure] = field(default_factory=list)
    address: str = ""
    first: str = field(default_factory=new_id)
    keyed: bool = False
    replies: "list[Future[Response]]" = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        """Give it an address of its own."""
        number = next(_NUMBERS)
        self.address = self.address or f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
