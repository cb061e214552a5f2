"""A client that disconnects ends its request for a page."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from postern.api import departure
from postern.api.departure import while_connected
from postern.errors import Problem, problem
from postern.triggers.reply import Answer, json_reply

pytestmark = pytest.mark.anyio


class Page:
    """A page that answers when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request: Request) -> Answer:
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return json_reply(200, b"{}")


def request(*messages: str) -> Request:
    """One whose client sends these messages, and then nothing."""
    left = [{"type": each} for each in messages]

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return Request({"type": "http", "method": "GET", "path": "/", "headers": []}, receive)


async def test_a_page_ends_when_its_client_disconnects(monkeypatch):
    monkeypatch.setattr(departure, "LISTEN_AFTER", 0)
    page = Page()
    await while_connected(page, request("http.request", "http.disconnect"))
    await asyncio.sleep(0)
    assert page.cancelled


async def test_a_page_whose_client_stays_answers(monkeypatch):
    monkeypatch.setattr(departure, "LISTEN_AFTER", 0)
    page = Page()
    answering = asyncio.ensure_future(while_connected(page, request("http.request")))
    for _ in range(5):
        await asyncio.sleep(0)
    page.may.set()
    assert ((await answering).status, page.cancelled) == (200, False)


async def test_what_a_page_raises_is_raised():
    async def page(_: Request) -> Answer:
        raise problem("unknown-run")

    with pytest.raises(Problem) as caught:
        await while_connected(page, request())
    assert caught.value.code == "unknown-run"


async def test_a_request_that_is_cancelled_ends_its_page():
    page = Page()
    answering = asyncio.ensure_future(while_connected(page, request()))
    for _ in range(3):
        await asyncio.sleep(0)
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    await asyncio.sleep(0)
    assert page.cancelled
