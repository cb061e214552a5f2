"""A relay of TCP in a thread: it delays what passes, without a limit of bandwidth, and balances connections."""

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

READ = 256 * 1024
MOST_WAITING = 64 * 1024 * 1024
"""Bytes in a delayed direction, far beyond what any window allows."""


class _Relay:
    def __init__(self, ports: Sequence[int], delay: float) -> None:
        self._ports = ports
        self._delay = delay
        self._chance = random.Random(7)
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._listening = threading.Event()
        self._stop = asyncio.Event()
        self.port = 0

    def run(self) -> None:
        """Until `stop`, in a thread."""
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())
        self._loop.close()

    def started(self) -> int:
        """The port."""
        self._listening.wait()
        return self.port

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=READ)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._chance.choice(self._ports), limit=READ)
            try:
                await asyncio.gather(self._one_way(reader, back), self._one_way(there, writer))
            finally:
                back.close()
        except OSError:
            pass
        finally:
            writer.close()
            self._connections.discard(task)

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each piece leaves its delay after it came. Raises OSError at the end of either side."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_WAITING // READ)

        async def leave() -> None:
            while True:
                at, data = await queue.get()
                if (wait := at - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    raise ConnectionResetError
                writer.write(data)
                await writer.drain()

        leaving = self._loop.create_task(leave())
        try:
            while data := await reader.read(READ):
                await queue.put((self._loop.time() + self._delay, data))
            await queue.put((self._loop.time() + self._delay, b""))
            await leaving
        finally:
            leaving.cancel()


@contextmanager
def relay(ports: Sequence[int], delay: float = 0.0) -> Iterator[int]:
    """The port of a relay to these ports of this machine, one of them at random for each connection. `delay` is in
    seconds, each way."""
    made = _Relay(ports, delay)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made.started()
    finally:
        made.stop()
        thread.join()
