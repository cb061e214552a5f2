"""How what callers share is divided among them, so that none can take it all. Pure.

A queue admits a caller as long as that caller holds no more of it than is free (a dynamic threshold, Choudhury and
Hahne 1998). One caller alone gets half of it, two get a third each, and a caller who holds nothing is always admitted
while anything is free. All anonymous callers together get at most half, which they divide by address in the same way.

Storage is divided by one level, up to which everybody may fill it: who holds less loses nothing (max-min fairness).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import TypeVar

ANONYMOUS = "anonymous"

Holder = tuple[str, str]
"""A caller with a token: tenant and object id. A caller without: ANONYMOUS and the address."""

T = TypeVar("T")

EVERYBODY: Holder = (ANONYMOUS, "")
"""All anonymous callers together."""

_LONGEST = 45
"""Characters of an address. A trusted proxy may forward any text."""


def holder_of(kind: str, tenant_id: str, object_id: str, address: str) -> Holder:
    """Who counts as one caller. Addresses of version 6 count by their network of 64 bits, which one client has."""
    if kind != ANONYMOUS:
        return tenant_id, object_id
    return ANONYMOUS, _network(address) if ":" in address else address[:_LONGEST]


@lru_cache(maxsize=1024)
def _network(address: str) -> str:
    try:
        return str(ip_network((IPv6Address(address.partition("%")[0]), 64), strict=False))
    except ValueError:
        return address[:_LONGEST]


def has_room(held: int, anonymous: int | None, queued: int, most: int) -> bool:
    """Whether a queue of `most`, of which `queued` are taken, admits a caller who holds `held` of them. `anonymous` is
    what all anonymous callers hold together if this one is anonymous too, and None otherwise. If at most a quarter is
    taken, everybody is admitted."""
    free = most - queued
    if anonymous is not None:
        free = min(free, most // 2 - anonymous)
    return free > 0 and held <= free


class Allotment:
    """What is taken of `most`, and by whom: each caller is admitted as long as `has_room` says so."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._held: Counter[Holder] = Counter()

    def admits(self, who: Holder) -> bool:
        """Whether this caller may take more."""
        together = self._held[EVERYBODY] if who[0] == ANONYMOUS else None
        return has_room(self._held[who], together, self.taken, self.most)

    def take(self, who: Holder, amount: int = 1) -> None:
        """The caller has so much more. A negative amount is given back."""
        self.taken += amount
        for each in (who, EVERYBODY) if who[0] == ANONYMOUS else (who,):
            self._held[each] += amount
            if not self._held[each]:
                del self._held[each]


def fair_level(amounts: Iterable[int], most: int) -> int:
    """The level to which each amount has to be cut so that their sum is at most `most`; the largest amount if it is
    already."""
    left, ordered = most, sorted(amounts)
    for place, amount in enumerate(ordered):
        rest = len(ordered) - place
        if amount * rest > left:
            return max(left, 0) // rest
        left -= amount
    return ordered[-1] if ordered else 0


def excess(held: Mapping[tuple[str, T], int], most: int) -> dict[tuple[str, T], int]:
    """What each has to give back, by workflow and holder, so that all hold at most `most` together, those of one
    workflow half of it, and each holder of a workflow a quarter. First the workflows share, then the holders of each:
    many addresses at one workflow take nothing from another. Who has nothing to give back is left out."""
    by_workflow: dict[str, dict[tuple[str, T], int]] = {}
    for who, amount in held.items():
        by_workflow.setdefault(who[0], {})[who] = min(amount, most // 4)
    level = min(fair_level((sum(each.values()) for each in by_workflow.values()), most), most // 2)
    left = {
        who: min(amount, share)
        for each in by_workflow.values()
        for share in [fair_level(each.values(), level)]
        for who, amount in each.items()
    }
    return {who: held[who] - left[who] for who in held if held[who] > left[who]}
