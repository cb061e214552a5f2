"""What all forms together may hold of a process, and of its folder for temporary files."""

import asyncio
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import structlog
from pydantic import BaseModel
from structlog.testing import capture_logs

from postern import Context, Form, UploadFile, anonymous, workflow
from postern.access import OPEN, Signed
from postern.errors import Problem
from postern.triggers import uploads as uploads_module
from postern.triggers.form_body import Upload, receive_body
from postern.triggers.read import Disconnected
from postern.triggers.uploads import MOST_UPLOADED, Uploads
from tests.pipeline.test_forms import BOUNDARY, multipart
from tests.table import table

pytestmark = pytest.mark.anyio

KIND = f"multipart/form-data; boundary={BOUNDARY}".encode()
LIMIT = 10_000
BODY = multipart([("files", ("a", b"x" * 1000, "text/plain"))])
ADA, LISA = ("tenant", "ada"), ("tenant", "lisa")
ANYONE, ELSE = ("anonymous", "192.0.2.1"), ("anonymous", "192.0.2.2")
log: Any = structlog.get_logger("test")


class Sheet(BaseModel):
    files: list[UploadFile] = []


@workflow(access=anonymous())
async def sheet(ctx: Context, sheet: Annotated[Sheet, Form()]) -> None: ...


@workflow(access=anonymous(), durable=True)
async def kept(ctx: Context, sheet: Annotated[Sheet, Form()]) -> None: ...


class Client:
    """A client that sends a body in pieces, as far as it is let."""

    def __init__(self, *pieces: bytes, gone: bool = False) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.send(*pieces)
        if gone:
            self.messages.put_nowait({"type": "http.disconnect"})

    def send(self, *pieces: bytes, more: bool = True) -> None:
        for piece in pieces:
            self.messages.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def receive(self) -> Any:
        return await self.messages.get()


def received(
    uploads: Uploads,
    client: Client,
    *,
    who: tuple[str, str] = ADA,
    length: int | None = len(BODY),
    made: Any = sheet,
    policy: Any = OPEN,
    still: Callable[[], None] = lambda: None,
) -> Any:
    fields = {b"content-type": KIND} | ({} if length is None else {b"content-length": str(length).encode()})
    trigger: Any = SimpleNamespace(workflow=made, policy=policy)
    return receive_body(
        trigger, None, fields, client.receive, LIMIT, partial(uploads.begin, made.name, who, log), still
    )


@table(
    ("length", "while_it_comes", "then"),
    [(len(BODY), len(BODY), 1000), (None, LIMIT, 1000)],
)
async def test_a_form_holds_what_is_announced_while_it_arrives_and_then_what_it_has(
    length: int | None, while_it_comes: int, then: int
):
    uploads, client = Uploads(100_000), Client(BODY[:100])
    arriving = asyncio.create_task(received(uploads, client, length=length))
    while not client.messages.empty():
        await asyncio.sleep(0)
    assert uploads.held == while_it_comes
    client.send(BODY[100:], more=False)
    upload: Upload = await arriving
    assert uploads.held == then
    upload.close()
    upload.close()
    assert uploads.held == 0


@pytest.mark.parametrize(
    ("made", "policy"), [(kept, OPEN), (sheet, Signed.__new__(Signed))], ids=["durable", "signed by its sender"]
)
async def test_a_form_that_is_kept_in_memory_as_it_was_sent_counts_too(made: Any, policy: Any):
    uploads, client = Uploads(100_000), Client()
    client.send(BODY, more=False)
    upload = await received(uploads, client, made=made, policy=policy)
    assert (upload.body, uploads.held) == (BODY, len(BODY))
    upload.close()
    assert uploads.held == 0


def ended() -> None:
    """The access of the caller has ended meanwhile."""
    raise PermissionError


@pytest.mark.parametrize(
    ("client", "still", "error"),
    [
        (partial(Client, BODY[:100], gone=True), lambda: None, Disconnected),
        (partial(Client, b"x" * (LIMIT + 1)), lambda: None, Problem),
        (partial(Client, BODY), ended, PermissionError),
    ],
    ids=["the client has gone", "too large", "no access any more"],
)
async def test_a_form_that_does_not_arrive_gives_everything_back(client: Any, still: Any, error: type[Exception]):
    uploads, sender = Uploads(100_000), client()
    sender.send(b"", more=False)
    with pytest.raises(error):
        await received(uploads, sender, still=still)
    assert uploads.held == 0


async def test_a_caller_may_hold_as_much_as_is_free_and_gets_429_beyond_that():
    uploads = Uploads(100_000)
    hold = uploads.begin("sheet", ADA, log, 60_000)
    with capture_logs() as lines, pytest.raises(Problem) as refused:
        uploads.begin("sheet", ADA, log, 1)
    assert (refused.value.status, refused.value.code) == (429, "too-many-runs")
    assert dict(refused.value.headers) == {"Retry-After": "5", "Connection": "close"}
    assert lines == [
        {"event": "uploads-full", "log_level": "warning", "workflow": "sheet", "caller": "tenant ada", "times": 1}
        | {"held_bytes": 60_000, "most_bytes": 100_000}
    ]
    uploads.begin("sheet", LISA, log, 10_000)  # another caller is not held up by this one
    hold(-60_000)
    uploads.begin("sheet", ADA, log, 1)


async def test_all_anonymous_callers_hold_half_together():
    uploads = Uploads(100_000)
    uploads.begin("sheet", ANYONE, log, 50_000)
    with pytest.raises(Problem):
        uploads.begin("sheet", ELSE, log, 1)
    uploads.begin("sheet", ADA, log, 1)


async def test_one_form_of_any_size_is_received_when_its_caller_holds_nothing():
    uploads = Uploads(1000)
    uploads.begin("sheet", ADA, log, 5_000_000)
    with pytest.raises(Problem):
        uploads.begin("sheet", LISA, log, 1)


@table(
    ("total", "most"),
    [(10 * MOST_UPLOADED, MOST_UPLOADED), (64 * 1024 * 1024, 32 * 1024 * 1024), (0, MOST_UPLOADED)],
)
def test_half_of_a_small_folder_for_temporary_files_is_used(total: int, most: int):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=total))
        assert uploads_module._most() == most
