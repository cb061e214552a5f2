"""How a reply is sent while its run goes on. A reader that is gone ends it, also while the author's iterator waits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

from postern.journal.run import Run
from postern.runs.outcomes import ReaderGone
from postern.runs.streaming import Pieces, WholeFile
from postern.triggers.exchange import Exchange
from postern.triggers.file_reply import send_file
from postern.triggers.one_origin import on_one_origin
from postern.triggers.reply import ALWAYS, Receive, Send
from postern.triggers.secure_transport import Scope

PIECE = 64 * 1024
"""Bytes that are sent at once: then the reader has to take some."""

Head = list[tuple[bytes, bytes]]


async def send_stream(
    run: Run,
    scope: Scope,
    receive: Receive,
    send: Send,
    exchange: Exchange | None,
    answered: Callable[[int], Sequence[tuple[bytes, bytes]]],
    *,
    console_on: bool,
) -> None:
    """Send the reply of a run to its end. `answered` is told of the status, and returns header fields to add. If it
    ends before, the connection is closed, so that the reader sees that it was cut. Raises ReaderGone, and what the
    author's iterator raises."""
    sending = run.sending

    async def send_counted(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"x-run-id", run.id.encode())]
            headers = (on_one_origin(headers) if console_on else headers) + ALWAYS
            sending.status, sending.head_sent = message["status"], True
            message = {**message, "headers": [*headers, *answered(message["status"])]}
        elif not message.get("more_body", False):
            reader.needed = False
        await send(message)
        sending.sent += len(message.get("body", b""))

    reader = _Reader(receive)
    try:
        if isinstance(sending, WholeFile):
            await reader.reading(send_file(sending, run.id, scope, receive, send_counted))
        elif isinstance(sending, Pieces):
            await reader.reading(_send_pieces(run, sending, scope, send_counted, reader, exchange))
    except BaseException:
        if sending.head_sent and exchange is not None:
            exchange.cut_off()
        raise


async def _send_pieces(
    run: Run, sending: Pieces, scope: Scope, send: Send, reader: "_Reader", exchange: Exchange | None
) -> None:
    head_only = scope["method"] == "HEAD"
    unframed = exchange if scope["http_version"] == "1.0" and not head_only else None
    if unframed is not None:
        unframed.unframed()
    found = None if sending.at_once or head_only else await sending.next()
    await send({"type": "http.response.start", "status": sending.status, "headers": [*sending.headers]})
    if sending.at_once and not head_only:
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        found = await sending.next()
    while found is not None:
        for start in range(0, len(found), PIECE):
            await send({"type": "http.response.body", "body": found[start : start + PIECE], "more_body": True})
            if reader.gone or run.ended_at:
                raise ReaderGone
        await asyncio.sleep(0)  # an iterator that waits for nothing leaves time to other requests
        found = await sending.next()
        if reader.gone or run.ended_at:  # the iterator swallowed a cancellation
            raise ReaderGone
    if unframed is not None:
        reader.needed = False
        unframed.cut_off()
    else:
        await send({"type": "http.response.body", "body": b""})


class _Reader:
    """The client that reads the reply. When it disconnects, the task that sends is cancelled, because its iterator may
    wait for hours."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self.needed = True
        self._receive = receive
        self._task = asyncio.current_task()

    async def reading(self, sending: Awaitable[None]) -> None:
        """Send while there is a reader. Raises ReaderGone if it left before the end."""
        watching = asyncio.get_running_loop().create_task(self._watch(), context=Context())
        try:
            await sending
        except BaseException:
            if not self.gone:
                raise
            self._forgive()
            raise ReaderGone from None
        finally:
            watching.cancel()
        if self.gone:  # it left while the last piece was written, and the cancellation is still to come
            self._forgive()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.needed and self._task is not None:  # else all was written: what is left is to close a file
            self.gone = True
            self._task.cancel()

    def _forgive(self) -> None:
        if self._task is not None:
            self._task.uncancel()
