"""A private system: small answers, long bodies, and requests that wait. It counts what it got."""

import asyncio
from collections import Counter
from typing import Any

PART = bytes(64 * 1024)
SMALL = b'{"items": 100}'
WAIT_SECONDS = 120.0

seen: Counter[str] = Counter()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/items`, `/close` (the connection ends after it), `/bytes/N`, `/wait` (no answer for long), `/seen`."""
    if scope["type"] != "http":
        return
    _, kind, *more = scope["path"].split("/")
    seen[kind] += 1
    if kind == "bytes":
        await _long(send, int(more[0]))
        return
    if kind == "wait":
        await asyncio.sleep(WAIT_SECONDS)
    body = b"%d" % seen[more[0]] if kind == "seen" else SMALL
    headers = [(b"content-length", b"%d" % len(body)), *([(b"connection", b"close")] if kind == "close" else [])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _long(send: Any, size: int) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    while size > 0:
        part = PART[:size]
        size -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": size > 0})
