"""Seals the tokens of all grants with the newest version of the key, beside servers that use and renew them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from postern.connections.grants.seal import Seal
from postern.connections.sealing.sealed_text import CannotOpen, Keys
from postern.journal.grant_upkeep import BATCH, count_sealed_otherwise, reseal, sealed_otherwise

PASSES = 3
"""How often the table is gone through at most. Servers seal with the former version while they have it in memory."""

_T = TypeVar("_T")


class Transact(Protocol):
    """Runs an operation in a transaction of its own."""

    def __call__(self, operation: Callable[[Connection], _T], /) -> _T: ...


@dataclass(frozen=True, slots=True)
class Resealed:
    """What was done: how many grants were sealed anew with `key_version`, how many are still sealed by a former one,
    and of those the names and owners of the ones that do not open."""

    key_version: str
    done: int
    left: int
    unopened: tuple[tuple[str, str], ...]


async def reseal_all(
    keys: Keys, transact: Transact, progress: Callable[[int, int], object] = lambda *_: None
) -> Resealed:
    """Seal all grants anew. It may be interrupted and run again: those that are done are not done again. `progress` is
    called with the number of grants that are done, and of all. Raises ConnectionFault if the vault is unavailable."""
    seal = Seal(keys)
    sealer = await seal.prepare()
    version = sealer.key_version
    left = transact(partial(count_sealed_otherwise, key_version=version))
    done = 0
    unopened: list[tuple[str, str]] = []
    for _ in range(PASSES):
        if left <= len(unopened):
            break
        after, unopened = ("", ""), []
        total = done + left
        while rows := transact(partial(sealed_otherwise, key_version=version, limit=BATCH, after=after)):
            for row in rows:
                after = row.name, row.owner
                try:
                    tokens = await seal.open(row.name, row.owner, row.sealed, row.key_version)
                except CannotOpen:
                    unopened.append(after)
                    continue
                sealed, _ = sealer.seal(row.name, row.owner, tokens)
                done += transact(partial(reseal, former=row, sealed=sealed, key_version=version))
                progress(done, total)
        left = transact(partial(count_sealed_otherwise, key_version=version))
    return Resealed(version, done, left, tuple(unopened))
