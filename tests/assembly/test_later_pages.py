"""Pages are made for the first request that no other route takes, once, and are as routes that were there before."""

import threading
from collections.abc import AsyncIterator, Iterable

import anyio
import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from postern.assembly.later_pages import LaterPages
from postern.assembly.once import Once

pytestmark = pytest.mark.anyio


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


class Pages:
    """Counts how often they are made, and in which thread."""

    def __init__(self) -> None:
        self.made_in: list[int] = []

    def __call__(self) -> Iterable[Route]:
        self.made_in.append(threading.get_ident())
        return [Route("/runs/{id}", page, methods=["GET"])]


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
async def client(pages: Pages) -> AsyncIterator[AsyncClient]:
    app = Starlette(routes=[Route("/healthz", page, methods=["GET"]), LaterPages([pages])])
    async with AsyncClient(transport=ASGITransport(app), base_url="http://postern.test") as opened:
        yield opened


async def test_pages_are_made_for_the_first_request_only_and_in_another_thread(client: AsyncClient, pages: Pages):
    assert (await client.get("/healthz")).text == "/healthz"
    assert pages.made_in == []
    found: list[str] = []

    async def get(number: int) -> None:
        found.append((await client.get(f"/runs/{number}")).text)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(get, number)
    assert sorted(found) == [f"/runs/{number}" for number in range(5)]
    assert len(pages.made_in) == 1
    assert pages.made_in != [threading.get_ident()]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/healthz", 405), ("POST", "/runs/1", 405), ("GET", "/nothing", 404), ("GET", "/runs/1/", 404)],
)
async def test_paths_and_methods_that_no_page_has_are_rejected_as_before(
    client: AsyncClient, method: str, path: str, status: int
):
    answer = await client.request(method, path)
    assert answer.status_code == status
    allowed = {"GET", "HEAD"} if status == 405 else {""}
    assert set(answer.headers.get("allow", "").split(", ")) == allowed


async def test_pages_that_could_not_be_made_are_made_for_the_next_request():
    made: list[str] = []

    def make() -> Iterable[Route]:
        made.append("")
        if len(made) == 1:
            raise OSError("no file descriptor is free")
        return [Route("/runs", page)]

    app = Starlette(routes=[LaterPages([make])])
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://postern.test") as client:
        assert [(await client.get("/runs")).status_code for _ in range(3)] == [500, 200, 200]
    assert len(made) == 2


def test_threads_that_need_something_at_the_same_time_get_the_same():
    together = threading.Barrier(4)
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    once, found = Once(make), []

    def need() -> None:
        together.wait()
        found.append(once())

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == made * 4
