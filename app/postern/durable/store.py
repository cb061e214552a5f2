"""The store of checkpoints, as far as it is needed.

DBOS takes about 0.25 s and 21 MiB to import, and threads. A server that executes no durable run does without.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from postern.durable.checkpoints import Execute

if TYPE_CHECKING:
    from postern.durable.dbos_engine import DbosEngine


PATIENCE = 10.0
"""Seconds to wait for a moment in which no other thread uses SQLAlchemy."""


class Store:
    """DBOS on the database at `url`, for the server process `node`: see DbosEngine. It is made by `start`. `quiet`
    returns in a moment in which no other thread uses SQLAlchemy, or after so many seconds."""

    def __init__(self, url: str, node: str, execute: Execute, quiet: Callable[[float], Awaitable[None]]) -> None:
        self._of = url, node, execute
        self._quiet = quiet
        self._dbos: DbosEngine | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self._dbos is not None and self._dbos.runs

    @property
    def dbos(self) -> "DbosEngine":
        """DBOS itself. Raises RuntimeError before `start`."""
        if self._dbos is None:
            raise RuntimeError("the store of checkpoints was not started")
        return self._dbos

    async def start(self) -> None:
        """Import DBOS in a thread, and open the database of checkpoints. Raises whatever that raises, and can be called
        again then."""
        if self._dbos is None:
            # Here first, while no other thread has a statement: SQLAlchemy uses this module in statements from when its
            # import begins, and fails until it has ended.
            await self._quiet(PATIENCE)
            import_module("sqlalchemy.orm")
            module = await asyncio.to_thread(import_module, "postern.durable.dbos_engine")
            self._dbos = module.DbosEngine(*self._of)
        await self.dbos.start()

    async def stop(self) -> None:
        """End all executions here, without an outcome, and close the database."""
        if self._dbos is not None:
            await self._dbos.stop()

    async def delete(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs."""
        await self.dbos.delete(run_ids)

    async def known(self, offset: int, most: int) -> list[str]:
        """The ids of runs that have checkpoints, the oldest first, from one place on."""
        return await self.dbos.known(offset, most)
