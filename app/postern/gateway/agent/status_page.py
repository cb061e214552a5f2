"""GET /healthz and GET /metrics of the agent, on loopback only."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import h11

HOST = "127.0.0.1"
SECONDS = 5.0
MOST_AT_A_TIME = 16

Page = tuple[int, str, bytes]


class StatusPage:
    """A server of two pages. `health` gives the fields of /healthz, and whether all is well; `metrics` the text of
    /metrics."""

    def __init__(self, health: Callable[[], tuple[bool, Mapping[str, Any]]], metrics: Callable[[], bytes]) -> None:
        self._health = health
        self._metrics = metrics
        self._turns = asyncio.Semaphore(MOST_AT_A_TIME)

    async def start(self, port: int) -> asyncio.Server:
        """Listen on loopback. Raises OSError if the port is taken."""
        return await asyncio.start_server(self._serve, HOST, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._turns, asyncio.timeout(SECONDS):
                writer.write(await self._response(reader))
                await writer.drain()
        except (OSError, h11.RemoteProtocolError):
            pass
        finally:
            writer.close()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        connection = h11.Connection(h11.SERVER)
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(4096))
        if not isinstance(event, h11.Request):
            return b""
        status, kind, body = self._page(event)
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        parts = [
            connection.send(h11.Response(status_code=status, headers=[*headers, ("Connection", "close")])),
            connection.send(h11.Data(data=body)) if event.method != b"HEAD" else b"",
            connection.send(h11.EndOfMessage()),
        ]
        return b"".join(part or b"" for part in parts)

    def _page(self, request: h11.Request) -> Page:
        if request.method not in (b"GET", b"HEAD"):
            return 405, "text/plain", b"GET only\n"
        if request.target == b"/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        if request.target == b"/healthz":
            well, fields = self._health()
            return (200 if well else 503), "application/json", json.dumps(fields).encode() + b"\n"
        return 404, "text/plain", b"/healthz or /metrics\n"
