"""Forms, queries and header fields as typed parameters, through a whole application."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.settings import load_settings
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, Field
from postern import Context, Form, Header, Query, UploadFile, anonymous, workflow

KEPT = []

class Order(BaseModel):
    item: str
    amount: int = 1
    tags: list[str] = []
    api_key: str = ""

class Sheet(BaseModel):
    title: str
    photo: UploadFile
    more: list[UploadFile] = []
    logo: UploadFile | None = None
    password: str = ""

@dataclass
class Note:
    text: str
    files: list[UploadFile] = field(default_factory=list)

@workflow(access=anonymous())
async def order(ctx: Context, order: Annotated[Order, Form()]):
    return {"order": order.model_dump(), "body": ctx.request.text}

@workflow(access=anonymous())
async def sheet(ctx: Context, sheet: Annotated[Sheet, Form()]):
    KEPT.append(sheet.photo)
    return {
        "title": sheet.title, "name": sheet.photo.filename, "type": sheet.photo.content_type,
        "size": sheet.photo.size, "text": (await sheet.photo.read()).decode("latin-1")[:20],
        "more": [each.filename for each in sheet.more], "logo": sheet.logo is not None,
        "closed": [each.file.closed for each in KEPT],
    }

@workflow(access=anonymous())
def note(ctx: Context, note: Annotated[Note, Form(max_files=2, max_fields=2)]):
    return {"text": note.text, "sizes": [len(each.file.read()) for each in note.files]}

@workflow(access=anonymous(), secure_inputs=True, name="secured")
async def secured(ctx: Context, note: Annotated[Note, Form()]):
    return len(note.files)

@workflow(access=anonymous(), methods=["GET"])
async def search(
    ctx: Context,
    q: Annotated[str, Query()],
    page: Annotated[int, Query(), Field(ge=1)] = 1,
    tag: Annotated[list[str], Query(alias="tag[]")] = [],
    x_shop: Annotated[str, Header()] = "none",
    sizes: Annotated[list[int], Header(alias="X-Sizes")] = [],
):
    return {"q": q, "page": page, "tag": tag, "shop": x_shop, "sizes": sizes}
"""

BOUNDARY = "----boundary7"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """The application of these workflows, and its database."""

    def __init__(self, client: AsyncClient, database: Path) -> None:
        self.client, self.database = client, database

    async def post(self, name: str, parts: list[tuple[str, Any]], **headers: str) -> Any:
        """Send parts: a text, or a tuple of filename, content and type for a file."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return await self.client.post(f"/triggers/{name}", content=multipart(parts), headers=kind | headers)

    def recorded(self, run_id: str) -> tuple[str | None, str, str | None]:
        with closing(sqlite3.connect(self.database)) as connection:
            row = connection.execute("SELECT inputs, inputs_form, request FROM runs WHERE id = ?", [run_id]).fetchone()
            return row[0], row[1], row[2]


def multipart(parts: list[tuple[str, Any]]) -> bytes:
    made = b""
    for name, value in parts:
        head, content = f'Content-Disposition: form-data; name="{name}"', value
        if isinstance(value, tuple):
            filename, content, kind = value
            head += f'; filename="{filename}"\r\nContent-Type: {kind}'
        content = content if isinstance(content, bytes) else content.encode()
        made += f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
    return made + f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("forms")
    (folder / "w.py").write_text(MODULE, encoding="utf-8")
    app = create_app(load_settings({}, folder=folder, defaults=defaults_for(folder)))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield Server(client, folder / ".journal.db")


FILE = ("photo", ("cat.png", b"\x89PNG", "image/png"))


async def test_a_form_without_files_comes_in_both_types(server: Server):
    plain = await server.client.post("/triggers/order", data={"item": "tea", "amount": "2", "tags": ["a", "b"]})
    assert plain.json()["order"] == {"item": "tea", "amount": 2, "tags": ["a", "b"], "api_key": ""}
    assert plain.json()["body"] == "item=tea&amount=2&tags=a&tags=b"
    parts = await server.post("order", [("item", "tea"), ("amount", ""), ("tags", "a")])
    assert parts.json()["order"] == {"item": "tea", "amount": 1, "tags": ["a"], "api_key": ""}


async def test_a_file_is_given_with_a_safe_name_and_removed_when_the_run_ends(server: Server):
    big = ("more", ("c:\\temp\\..\\big\u202e.bin", b"x" * 200_000, "application/octet-stream"))
    sent = [("title", "Täst"), ("photo", ("../../etc/cat.png", b"\x89PNG", "image/png")), big, big]
    sent += [("logo", ("", b"", "application/octet-stream"))]
    first = (await server.post("sheet", sent)).json()
    del first["closed"]
    assert first == {
        "title": "Täst", "name": "cat.png", "type": "image/png", "size": 4, "text": "\x89PNG",
        "more": ["big.bin", "big.bin"], "logo": False,
    }  # fmt: skip
    *earlier, own = (await server.post("sheet", sent)).json()["closed"]
    assert all(earlier)
    assert not own


async def test_def_workflows_read_files_and_an_empty_input_is_no_file(server: Server):
    sent = [("text", "hi"), ("files", ("", b"", "application/octet-stream"))]
    assert (await server.post("note", sent)).json() == {"text": "hi", "sizes": []}
    sent = [("text", "hi"), ("files", ("a", b"12", "text/plain")), ("files", ("b", b"x" * 70_000, "text/plain"))]
    assert (await server.post("note", sent)).json() == {"text": "hi", "sizes": [2, 70_000]}


@pytest.mark.parametrize(
    ("name", "parts", "code", "where"),
    [
        ("sheet", [("photo", ("a", b"1", "text/plain"))], "invalid-body", "/title"),
        ("sheet", [("title", "a")], "invalid-body", "/photo"),
        ("sheet", [("title", "a"), ("photo", "no file")], "invalid-body", "/photo"),
        ("sheet", [FILE, ("title", ("a", b"1", "text/plain"))], "invalid-body", "/title"),
        ("sheet", [FILE, ("title", "a"), ("title", "b")], "invalid-body", "/title"),
        ("note", [("text", "a"), ("b", "b"), ("c", "c")], "too-many-elements", None),
        ("note", [("text", "a"), *[("files", ("a", b"1", "text/plain"))] * 3], "too-many-elements", None),
        ("note", [("text", "a" * (1024 * 1024 + 1))], "body-too-large", None),
    ],
)
async def test_a_form_that_does_not_fit_is_rejected_as_json_is(
    server: Server, name: str, parts: list[tuple[str, Any]], code: str, where: str | None
):
    problem = (await server.post(name, parts)).json()
    assert problem["code"] == code
    if where is not None:
        assert [each["where"] for each in problem["errors"]] == [where]


@pytest.mark.parametrize(
    ("body", "kind", "code", "says"),
    [
        (b"{}", "application/json", "unsupported-media-type", "multipart/form-data"),
        (b"title=a", "application/x-www-form-urlencoded", "unsupported-media-type", "cannot carry files"),
        (b"", "multipart/form-data", "invalid-form", ""),
        (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x", "invalid-form", ""),
        (multipart([("title", "a")])[:-9], f"multipart/form-data; boundary={BOUNDARY}", "invalid-form", ""),
        (b"garbage", f"multipart/form-data; boundary={BOUNDARY}", "invalid-form", ""),
        (multipart([("title", b"\xff")]), f"multipart/form-data; boundary={BOUNDARY}", "invalid-form", ""),
    ],
)
async def test_another_type_and_a_broken_form_say_what_is_expected(
    server: Server, body: bytes, kind: str, code: str, says: str
):
    reply = await server.client.post("/triggers/sheet", content=body, headers={"Content-Type": kind})
    assert reply.json()["code"] == code
    assert says in reply.json()["detail"]


async def test_a_body_beyond_the_limit_is_cut_off_while_it_comes(server: Server):
    async def pieces() -> AsyncIterator[bytes]:
        yield multipart([("title", "a"), FILE])[:-20]
        for _ in range(400):
            yield b"x" * 64 * 1024

    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    reply = await server.client.post("/triggers/sheet", content=pieces(), headers=kind)
    assert reply.json()["code"] == "body-too-large"


async def test_a_form_beyond_what_all_may_hold_is_rejected_and_one_without_files_is_not(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postern.triggers.uploads.Allotment.admits", lambda *_: False)
    reply = await server.post("sheet", [("title", "Cat"), FILE])
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (429, "too-many-runs", "5")
    assert (await server.client.post("/triggers/order", data={"item": "tea"})).status_code == 200


async def test_a_record_counts_files_and_redacts_by_name(server: Server):
    reply = await server.post("sheet", [("title", "a"), ("password", "hunter2hunter2"), FILE])
    inputs, form, _ = server.recorded(reply.headers["X-Run-Id"])
    assert json.loads(inputs or "") == {
        "title": "a", "password": "[redacted]",
        "photo": {"filename": "cat.png", "content_type": "image/png", "size": 4},
    }  # fmt: skip
    assert form == "redacted"
    reply = await server.post("order", [("item", "tea"), ("api_key", "k" * 20)])
    assert server.recorded(reply.headers["X-Run-Id"])[0] == "item=tea&api_key=%5Bredacted%5D"
    reply = await server.post("secured", [("text", "a"), ("files", ("name-of-file", b"1", "text/plain"))])
    assert server.recorded(reply.headers["X-Run-Id"]) == (None, "secured", None)


async def test_a_run_with_files_is_not_resubmitted_and_one_without_is(server: Server):
    async def again(reply: Any) -> Any:
        return await server.client.post(f"/runs/{reply.headers['X-Run-Id']}/resubmit")

    refused = await again(await server.post("sheet", [("title", "a"), FILE]))
    assert refused.status_code == 409, refused.text
    assert refused.json()["code"] == "cannot-resubmit"
    assert "files" in refused.json()["detail"]
    for sent in (
        await server.post("order", [("item", "tea"), ("tags", "ä")]),
        await server.client.post("/triggers/order", data={"item": "tea", "tags": "ä"}),
    ):
        made = await again(sent)
        assert made.status_code == 201, made.text


async def test_a_key_is_the_same_under_another_boundary_and_reused_for_another_file(server: Server):
    key = {"Idempotency-Key": "form-1"}
    parts = [("title", "a"), FILE]
    first = await server.post("sheet", parts, **key)
    kind = {"Content-Type": "multipart/form-data; boundary=other"} | key
    body = multipart(parts).replace(BOUNDARY.encode(), b"other")
    second = await server.client.post("/triggers/sheet", content=body, headers=kind)
    assert second.headers["X-Run-Id"] == first.headers["X-Run-Id"]
    parts[1] = ("photo", ("cat.png", b"\x89PNZ", "image/png"))
    assert (await server.post("sheet", parts, **key)).json()["code"] == "idempotency-key-reused"


async def test_a_workflow_with_a_query_alone_is_called_by_get_and_head(server: Server):
    url = "/triggers/search?q=a%20b&page=3&tag[]=x&tag[]=y"
    headers = [("X-Shop", "north"), ("X-Sizes", "1, 2"), ("X-Sizes", "3")]
    found = (await server.client.get(url, headers=headers)).json()
    assert found == {"q": "a b", "page": 3, "tag": ["x", "y"], "shop": "north", "sizes": [1, 2, 3]}
    assert (await server.client.head(url)).status_code == 200
    assert (await server.client.get("/triggers/search?q=&page=")).json() == {
        "q": "", "page": 1, "tag": [], "shop": "none", "sizes": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "sizes", "code", "where"),
    [
        ("", "1", "invalid-query", "/query/q"),
        ("q=a&page=0", "1", "invalid-query", "/query/page"),
        ("q=a&page=x", "1", "invalid-query", "/query/page"),
        ("q=a&q=b", "1", "invalid-query", "/query/q"),
        ("q=%ff", "1", "invalid-query", "/query/q"),
        ("q=a&tag[]=b&tag[]=%C3", "1", "invalid-query", "/query/tag[]"),
        ("q=a", "1,x", "invalid-header", "/header/x-sizes/1"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(server: Server, query: str, sizes: str, code: str, where: str):
    problem = (await server.client.get(f"/triggers/search?{query}", headers={"X-Sizes": sizes})).json()
    assert (problem["code"], problem["errors"][0]["where"]) == (code, where)
