"""Replies that are sent while their run goes on, on real connections: streams, events and files."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from postern.assembly import create_app
from postern.runs import streaming
from postern.server.protocol import GuardedProtocol
from postern.settings import load_settings
from tests.pipeline.pipelines import defaults_for
from tests.server.test_protocol import eventually, serving
from tests.triggers.test_forms import open_files

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
import asyncio
import os
import tempfile
import threading
import time
from pathlib import Path

from typing import Annotated
from pydantic import BaseModel
from postern import Context, Event, Form, Reply, UploadFile, anonymous, workflow
from tests.pipeline.test_streams import SEEN

A = anonymous()

async def counted(name, pieces, wait=None):
    try:
        for each in pieces:
            yield each
        if wait is not None:
            await wait.wait()
    finally:
        SEEN.append(name)

@workflow(access=A, methods=["GET", "POST"])
async def texts(ctx: Context):
    return Reply.stream(counted("texts", ["a", "ä", b"c"]), "text/plain; charset=utf-8", headers=[
        ("Set-Cookie", "a=1"), ("set-cookie", "b=2")])

class Sheet(BaseModel):
    photo: UploadFile

@workflow(access=A)
async def sheet(ctx: Context, sheet: Annotated[Sheet, Form()]):
    SEEN.append("sheet")

@workflow(access=A)
async def events(ctx: Context):
    return Reply.events(counted("events", [{"n": 1}, "two\\nlines", Event("x", event="done", id="7", retry=2)]))

@workflow(access=A)
def threaded(ctx: Context):
    def pieces():
        try:
            yield threading.current_thread().name.rpartition("_")[0]
            yield "|end"
        finally:
            SEEN.append("threaded")
    return Reply.stream(pieces(), "text/plain")

@workflow(access=A, methods=["GET"])
async def quiet(ctx: Context):
    return Reply.events(counted("quiet", [1], asyncio.Event()))

@workflow(access=A, timeout=0.3)
async def late(ctx: Context):
    return Reply.events(counted("late", [1], asyncio.Event()))

@workflow(access=A, timeout=0.3)
async def late_at_first(ctx: Context):
    return Reply.stream(counted("late-at-first", [], asyncio.Event()))

@workflow(access=A)
def stuck(ctx: Context):
    def pieces():
        try:
            yield "a"
            SEEN.append("waits")
            STUCK.wait(120)
            yield "b"
        finally:
            SEEN.append("stuck")
    return Reply.stream(pieces())

STUCK = threading.Event()

@workflow(access=A)
async def release(ctx: Context):
    STUCK.set()

@workflow(access=A, max_concurrency=1, methods=["GET"])
async def endless(ctx: Context):
    return Reply.stream(counted("endless", iter(lambda: b"x" * 65536, None)))

@workflow(access=A)
async def broken(ctx: Context):
    async def pieces():
        yield "one"
        raise LookupError("in the middle")
    return Reply.stream(pieces(), "text/plain")

@workflow(access=A)
async def broken_at_first(ctx: Context):
    async def pieces():
        raise LookupError("before")
        yield "one"
    return Reply.stream(pieces(), "text/plain")

@workflow(access=A)
async def number(ctx: Context):
    return Reply.stream(iter(["a", 7]))

@workflow(access=A)
async def as_before(ctx: Context):
    return iter([1, 2])

@workflow(access=A, secure_outputs=True)
async def secured(ctx: Context):
    return Reply.stream(iter(["secret"]))

@workflow(access=A, stateless=True)
async def unrecorded(ctx: Context):
    return Reply.stream(iter(["a"]))

@workflow(access=A, methods=["GET", "POST"])
async def send(ctx: Context):
    name = ctx.request.query.get("name", "")
    return Reply.file(name, filename=ctx.request.query.get("save", ""))

@workflow(access=A, methods=["GET"])
async def open_events(ctx: Context):
    async def numbers():
        yield 1
        await asyncio.Event().wait()
    return Reply.events(numbers())

@workflow(access=A)
async def made(ctx: Context):
    handle, name = tempfile.mkstemp(suffix=".csv")
    os.write(handle, b"a;b")
    os.close(handle)
    SEEN.append(name)
    return Reply.file(name, content_type="text/csv", delete=True)
"""

SEEN: list[str] = []
LOOKS = "SELECT state, status, outputs, outputs_form, error_type, reply_headers FROM runs WHERE id = ?"


class Hasty(GuardedProtocol):
    write_seconds = 1.0


class Server:
    """The application on a port."""

    def __init__(self, client: httpx2.AsyncClient, database: Path, port: int, state: dict[str, Any]) -> None:
        self.client, self.database, self.port, self.state = client, database, port, state

    def record(self, run_id: str) -> tuple[Any, ...]:
        with closing(sqlite3.connect(self.database)) as connection:
            found = connection.execute(LOOKS, [run_id]).fetchone()
            return tuple(found) if found else ()

    async def ended(self, run_id: str) -> tuple[Any, ...]:
        await eventually(lambda: (self.record(run_id) or ("Running",))[0] != "Running")
        return self.record(run_id)

    async def cut(self, name: str) -> str:
        """Read a reply that is cut in its middle, as its reader sees. Returns the id of the run."""
        async with self.client.stream("POST", f"/triggers/{name}") as reply:
            with pytest.raises(httpx2.RemoteProtocolError):
                await reply.aread()
            return reply.headers["x-run-id"]

    async def open(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """Begin a GET, and read its head. Returns the id of the run."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        return reader, writer, head.partition("x-run-id: ")[2].partition("\r\n")[0]


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Server]:
    (folder / "w.py").write_text(MODULE, encoding="utf-8")
    (folder / "page.txt").write_bytes(b"0123456789")
    (folder / ".env").write_bytes(b"SECRET=1")
    (folder / "link.txt").symlink_to("/etc/passwd")
    app = create_app(load_settings({}, folder=folder, defaults=defaults_for(folder)))
    assert not app.catalog.snapshot.faults
    async with app.router.lifespan_context(app) as state, serving(Hasty, cast("Any", app)) as running:
        url = f"http://127.0.0.1:{running.port}"
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            yield Server(client, folder / ".journal.db", running.port, dict(state or {}))


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with served(tmp_path_factory.mktemp("streams")) as running:
        yield running


def summary(record: tuple[Any, ...]) -> tuple[Any, ...]:
    state, status, outputs, form, *_ = record
    return state, status, json.loads(outputs), form


async def test_texts_and_bytes_are_sent_as_they_come_and_their_number_is_recorded(server: Server):
    reply = await server.client.post("/triggers/texts")
    assert reply.text == "aäc"
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert reply.headers["cache-control"] == "no-store"
    assert "content-length" not in reply.headers
    record = await server.ended(reply.headers["x-run-id"])
    assert summary(record) == ("Succeeded", 200, {"bytes": 4, "ended": "complete"}, "cut")
    assert (await server.client.head("/triggers/texts")).content == b""


async def test_a_client_of_http_1_0_gets_no_chunks_but_the_end_of_the_connection(server: Server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /triggers/texts HTTP/1.0\r\nHost: localhost\r\n\r\n")
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert content == "aäc".encode()
    assert b"chunked" not in head.lower()
    run_id = head.lower().partition(b"x-run-id: ")[2].partition(b"\r\n")[0].decode()
    assert json.loads((await server.ended(run_id))[2]) == {"bytes": 4, "ended": "complete"}


async def test_an_upload_that_stops_in_the_middle_leaves_no_file_and_starts_no_run(server: Server):
    SEEN.clear()
    before = open_files()
    writer = (await asyncio.open_connection("127.0.0.1", server.port))[1]
    part = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n' + b"x" * 200_000
    head = b"POST /triggers/sheet HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
    writer.write(head + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + part)
    await writer.drain()
    await eventually(lambda: len(open_files()) > len(before))
    writer.close()
    await eventually(lambda: open_files() == before)
    assert SEEN == []


async def test_events_are_written_as_browsers_read_them(server: Server):
    reply = await server.client.post("/triggers/events")
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.text == ('data: {"n":1}\n\ndata: two\ndata: lines\n\nid: 7\nevent: done\nretry: 2000\ndata: x\n\n')


async def test_a_def_generator_runs_in_the_threads_of_its_workflow_and_a_bare_iterator_is_json_as_before(
    server: Server,
):
    reply = await server.client.post("/triggers/threaded")
    assert reply.text == "workflow|end"
    assert "threaded" in SEEN
    assert (await server.client.post("/triggers/as-before")).json() == [1, 2]
    assert (await server.client.post("/triggers/unrecorded")).text == "a"


async def test_a_reader_that_goes_ends_the_run_and_its_iterator(server: Server):
    reader, writer, run_id = await server.open("/triggers/quiet")
    await reader.readuntil(b"data: 1\n\n")
    assert server.record(run_id)[0] == "Running"
    SEEN.clear()
    writer.close()
    record = await server.ended(run_id)
    assert summary(record) == ("Cancelled", 200, {"bytes": 9, "ended": "reader-gone"}, "cut")
    assert record[4] == "reader-gone"
    assert SEEN == ["quiet"]


async def test_a_reader_that_reads_nothing_ends_it_too_and_the_run_counts_until_then(server: Server):
    _, writer, run_id = await server.open("/triggers/endless")
    assert (await server.client.get("/triggers/endless")).json()["code"] == "too-many-runs"
    record = await server.ended(run_id)
    assert record[0] == "Cancelled"
    assert json.loads(record[2])["bytes"] < 64 * 1024 * 1024
    writer.close()
    _, writer, run_id = await server.open("/triggers/endless")
    writer.close()
    await server.ended(run_id)


async def test_a_timeout_and_an_error_cut_the_reply_so_that_its_reader_sees_it(server: Server):
    expected: dict[str, tuple[str, int, str]] = {
        "late": ("TimedOut", 9, "timed-out"),
        "broken": ("Failed", 3, "failed"),
    }
    for name, (state, size, how) in expected.items():
        run_id = await server.cut(name)
        assert summary(await server.ended(run_id)) == (state, 200, {"bytes": size, "ended": how}, "cut")
    assert "late" in SEEN


@pytest.mark.parametrize(("name", "status", "code"), [("broken-at-first", 500, "workflow-failed"),
                                                      ("late-at-first", 504, "timed-out")])  # fmt: skip
async def test_what_fails_before_the_first_byte_is_a_problem_as_ever(server: Server, name: str, status: int, code: str):
    reply = await server.client.post(f"/triggers/{name}")
    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_a_wrong_piece_fails_the_run_with_its_type(server: Server):
    assert (await server.ended(await server.cut("number")))[4] == "TypeError"


async def test_a_generator_in_a_blocked_thread_is_closed_after_its_step(server: Server):
    SEEN.clear()
    async with server.client.stream("POST", "/triggers/stuck") as reply:
        run_id = reply.headers["x-run-id"]
        pieces = reply.aiter_raw()  # held: one that is dropped closes the connection, perhaps before the next step
        await anext(pieces)
        await eventually(lambda: SEEN == ["waits"])
    assert (await server.ended(run_id))[4] == "reader-gone"
    assert SEEN == ["waits"]
    await server.client.post("/triggers/release")
    await eventually(lambda: SEEN == ["waits", "stuck"])


async def test_the_key_of_a_stream_has_no_reply_and_a_secured_one_leaves_nothing(server: Server):
    key = {"Idempotency-Key": "stream-1"}
    first = await server.client.post("/triggers/texts", headers=key)
    again = await server.client.post("/triggers/texts", headers=key)
    assert (again.status_code, again.json()["code"]) == (409, "reply-not-kept")
    assert again.headers["x-run-id"] == first.headers["x-run-id"]
    result = await server.client.get(f"/runs/{first.headers['x-run-id']}/result")
    assert result.status_code in (401, 404, 409)
    secured = await server.client.post("/triggers/secured", headers={"Prefer": "respond-async"})
    assert secured.text == "secret"
    assert (await server.ended(secured.headers["x-run-id"]))[2:4] == (None, "secured")


async def test_a_file_is_sent_whole_or_in_parts(server: Server):
    reply = await server.client.get("/triggers/send?name=page.txt&save=seite ü.txt")
    assert reply.content == b"0123456789"
    assert reply.headers["content-length"] == "10"
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.headers["content-disposition"] == "attachment; filename*=utf-8''seite%20%C3%BC.txt"
    assert "etag" in reply.headers
    assert summary(await server.ended(reply.headers["x-run-id"]))[2] == {"bytes": 10, "ended": "complete"}
    part = await server.client.get("/triggers/send?name=page.txt", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert (await server.ended(part.headers["x-run-id"]))[1] == 206
    assert (await server.client.head("/triggers/send?name=page.txt")).headers["content-length"] == "10"


@pytest.mark.parametrize("field", ["bytes=10-", "bytes=0-1, 99-"])
async def test_a_range_that_is_not_in_the_file_gets_a_problem_with_the_size(server: Server, field: str):
    reply = await server.client.get("/triggers/send?name=page.txt", headers={"Range": field})
    assert (reply.status_code, reply.json()["code"]) == (416, "range-not-satisfiable")
    assert reply.json()["run_id"] == reply.headers["x-run-id"]
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.headers["content-range"], reply.headers["cache-control"]) == ("bytes */10", "no-store")
    assert "content-disposition" not in reply.headers
    assert (await server.ended(reply.headers["x-run-id"]))[1] == 416
    head = await server.client.head("/triggers/send?name=page.txt", headers={"Range": field})
    assert (head.status_code, head.content) == (416, b"")


@pytest.mark.parametrize("field", ["bytes=5-2", "bytes", "bytes=", "pages=1-2", "bytes=x-y", ""])
async def test_a_range_that_is_not_valid_or_of_another_unit_is_ignored(server: Server, field: str):
    reply = await server.client.get("/triggers/send?name=page.txt", headers={"Range": field})
    assert (reply.status_code, reply.content) == (200, b"0123456789")
    assert summary(await server.ended(reply.headers["x-run-id"]))[2] == {"bytes": 10, "ended": "complete"}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.txt", "FileNotFoundError"),
        ("../", "ValueError"),
        ("/etc/passwd", "PermissionError"),
        ("link.txt", "PermissionError"),
        (".env", "PermissionError"),
        ("w.py", "PermissionError"),
        ("", "ValueError"),
    ],
)
async def test_only_files_of_the_folder_are_sent(server: Server, name: str, error: str):
    reply = await server.client.get(f"/triggers/send?name={name}")
    assert reply.json()["code"] == "workflow-failed"
    assert (await server.ended(reply.headers.get("x-run-id") or reply.json()["run_id"]))[4] == error


async def test_a_temporary_file_is_deleted_when_it_was_sent(server: Server):
    SEEN.clear()
    reply = await server.client.post("/triggers/made")
    assert (reply.text, reply.headers["content-type"]) == ("a;b", "text/csv; charset=utf-8")
    await server.ended(reply.headers["x-run-id"])
    assert not os.path.exists(SEEN[0])  # noqa: ASYNC240, PTH110


@pytest.mark.parametrize("size", [10, 2 * 64 * 1024])
async def test_a_file_that_grows_meanwhile_is_sent_as_it_was_announced(
    server: Server, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    growing = tmp_path / "growing.txt"
    growing.write_bytes(b"x" * size)

    def found(*_: Any) -> tuple[Path, os.stat_result]:
        stat = growing.stat()
        with growing.open("ab") as file:
            file.write(b"y" * 200_000)
        return growing, stat

    monkeypatch.setattr(streaming, "found_file", found)
    reply = await server.client.get("/triggers/send?name=page.txt")
    assert reply.content == b"x" * size
    record = await server.ended(reply.headers["x-run-id"])
    assert summary(record) == ("Succeeded", 200, {"bytes": size, "ended": "complete"}, "cut")


async def test_events_are_cut_off_when_the_server_begins_to_stop(tmp_path: Path):
    async with served(tmp_path) as stopping:
        reader, writer, run_id = await stopping.open("/triggers/open-events")
        await reader.readuntil(b"data: 1")
        stopping.state["draining"]()
        async with asyncio.timeout(5):
            assert b"\r\n0\r\n" not in await reader.read()
        writer.close()
        assert summary(await stopping.ended(run_id))[2] == {"bytes": 9, "ended": "shutting-down"}
