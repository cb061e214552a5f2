"""Workflows and the console's pages at one origin, through a whole application: what their replies carry, and which
cookies they see."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.api.results import Results
from postern.assembly import create_app
from postern.http_client import AsyncClient, Response, http_client
from postern.settings import load_settings
from postern.triggers.one_origin import SANDBOX
from postern.triggers.pipeline import Pipeline
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from typing import Annotated
from pydantic import AfterValidator
from postern import Context, Problem, Reply, anonymous, workflow

PAGE = "<script>alert(1)</script>"

def fails(value):
    raise Problem(409, PAGE, headers={"Content-Type": "text/html"})

@workflow(access=anonymous(), methods=["GET", "POST"])
async def page(ctx: Context):
    return Reply(200, PAGE, {"Content-Type": "text/html"})

@workflow(access=anonymous())
async def plain(ctx: Context):
    return Reply(200, "hello", {"Content-Type": "text/plain", "X-Content-Type-Options": "none"})

@workflow(access=anonymous())
async def untyped(ctx: Context):
    return Reply(200, PAGE.encode())

@workflow(access=anonymous())
async def empty(ctx: Context):
    return Reply(204)

@workflow(access=anonymous())
async def data(ctx: Context):
    return {"page": PAGE}

@workflow(access=anonymous())
async def created(ctx: Context):
    return Reply(201, {"page": PAGE}, {"Location": "/x"})

@workflow(access=anonymous())
async def signs_out(ctx: Context):
    cookies = ["__Host-postern-session=; Max-Age=0; Path=/; Secure", "own=1"]
    return Reply(200, "x", {"Content-Type": "text/plain", "Set-Cookie": cookies, "Clear-Site-Data": '"cookies"'})

@workflow(access=anonymous())
async def problem(ctx: Context):
    raise Problem(409, PAGE)

@workflow(access=anonymous())
async def typed_problem(ctx: Context):
    fails(1)

@workflow(access=anonymous())
async def validator(ctx: Context, body: Annotated[int, AfterValidator(fails)]): ...

@workflow(access=anonymous())
async def broken(ctx: Context):
    raise ValueError(PAGE)

@workflow(access=anonymous())
async def cookies(ctx: Context):
    return ctx.request.headers.getlist("cookie")
"""

SANDBOXED = ["page", "untyped", "empty", "typed-problem", "validator"]
INERT = ["plain", "data", "created", "signs-out", "problem", "broken", "cookies"]
SECRET = "hunter2-of-a-session"
COOKIES = f"a=1; __Host-postern-session={SECRET}; b=2; postern-session-8080={SECRET}"


CONSOLE = {
    "public_url": "https://postern.test",
    "tenant_id": "11111111-1111-4111-8111-111111111111",
    "authority": "http://127.0.0.1:9",  # nothing is there
    "client_id": "22222222-2222-4222-8222-222222222222",
    "azure_credential": "workload_identity",
}


@asynccontextmanager
async def served(folder: Path, **more: str) -> AsyncIterator[AsyncClient]:
    """A client of the application with a console, as a proxy with TLS on this machine passes requests on."""
    (folder / "pages.py").write_text(MODULE, encoding="utf-8")
    settings = load_settings({}, folder=folder, defaults={**defaults_for(folder), **CONSOLE, **more})
    app = create_app(settings)
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="https://postern.test", transport=ASGITransport(app)) as made,
    ):
        yield made


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    async with served(tmp_path) as made:
        yield made


def policy(answer: Response) -> str:
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    return answer.headers.get("content-security-policy", "")


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob(".journal.db*"))


def test_the_console_counts_as_on_unless_something_else_is_said():
    defaults = Pipeline.__dataclass_fields__["console_on"].default, Results.__dataclass_fields__["console_on"].default
    assert defaults == (True, True)


async def test_each_reply_that_a_browser_could_run_is_sandboxed_also_when_it_is_given_again(client: AsyncClient):
    sandbox = SANDBOX[1].decode()
    for name, expected in [*((name, sandbox) for name in SANDBOXED), *((name, "") for name in INERT)]:
        key = {"Idempotency-Key": f"one-{name}", "Content-Type": "application/json"}
        answer = await client.post(f"/triggers/{name}", content="1", headers=key)
        assert (name, policy(answer)) == (name, expected)
        again = await client.post(f"/triggers/{name}", content="1", headers=key)
        assert (name, again.content, policy(again)) == (name, again.content, expected)
        if "x-run-id" in answer.headers and name != "signs-out":  # a reply that sets a cookie is not kept
            assert again.headers["idempotent-replayed"] == "true"
            result = await client.get(f"/runs/{answer.headers['x-run-id']}/result")
            assert (name, result.content, policy(result)) == (name, answer.content, expected)
    looked = await client.head("/triggers/page")
    assert (policy(looked), looked.content) == (sandbox, b"")


@pytest.mark.parametrize("path", ["/triggers/none", "/triggers/data%20", "/triggers/page/x", "/runs/1/result"])
async def test_problems_of_the_server_itself_are_json_that_is_not_sniffed(client: AsyncClient, path: str):
    answer = await client.put(path)
    assert policy(answer) == ""
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_workflow_signs_no_one_out_of_the_console(client: AsyncClient):
    answer = await client.post("/triggers/signs-out")
    assert answer.headers.get_list("set-cookie") == ["own=1"]
    assert "clear-site-data" not in answer.headers


async def test_an_anonymous_workflow_sees_its_own_cookies_and_no_session(client: AsyncClient):
    with capture_logs() as logs:
        answer = await client.post("/triggers/cookies", headers=[("Cookie", COOKIES), ("Cookie", "c=3")])
        alone = await client.post("/triggers/cookies", headers={"Cookie": f"__Host-postern-session={SECRET}"})
        run = await client.get(f"/runs/{answer.headers['x-run-id']}")
        again = await client.post(f"/runs/{alone.headers['x-run-id']}/resubmit")
    assert (answer.json(), alone.json()) == (["a=1; b=2", "c=3"], [])
    assert SECRET not in json.dumps(logs, default=repr) + answer.text + run.text
    assert again.status_code == 201  # no credential is missing from its record


async def test_no_session_is_in_the_database(client: AsyncClient, tmp_path: Path):
    for name in ("cookies", "validator", "broken"):
        await client.post(f"/triggers/{name}", json=1, headers={"Cookie": COOKIES, "X-Marker": "is-recorded"})
    found = contents(tmp_path)
    assert b"is-recorded" in found
    assert SECRET.encode() not in found


async def test_while_the_console_is_off_an_author_decides(tmp_path: Path):
    async with served(tmp_path, console="off") as off:
        for name in SANDBOXED:
            answer = await off.post(f"/triggers/{name}", json=1)
            assert "content-security-policy" not in answer.headers
        result = await off.get(f"/runs/{(await off.post('/triggers/page')).headers['x-run-id']}/result")
        assert (result.headers["content-type"], "content-security-policy" in result.headers) == ("text/html", False)
        assert len((await off.post("/triggers/signs-out")).headers.get_list("set-cookie")) == 2
        assert (await off.post("/triggers/cookies", headers={"Cookie": COOKIES})).json() == ["a=1; b=2"]
