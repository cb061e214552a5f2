"""The application beside its triggers: health, and pages that are not there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.assembly import create_app
from postern.http_client import AsyncClient, http_client
from postern.settings import SettingsFault, load_settings

pytestmark = [pytest.mark.anyio, pytest.mark.process]

ANONYMOUS = """
from typing import Annotated

from pydantic import AfterValidator

from postern import Reply, anonymous, workflow


def broken(value: str) -> str:
    raise KeyError(f"MARKER {value}")


@workflow(access=anonymous())
async def hello(ctx):
    return "hello"


@workflow(access=anonymous(), path="/{status}")
async def empty(ctx, status: int):
    return Reply(status, b"never sent")


@workflow(access=anonymous())
async def picky(ctx, body: Annotated[str, AfterValidator(broken)]):
    return body
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """An application with one anonymous workflow and no tenant."""
    (tmp_path / "hello.py").write_text(ANONYMOUS, encoding="utf-8")
    app = create_app(
        load_settings(
            {}, folder=tmp_path, defaults={"workflows": str(tmp_path), "database_url": f"sqlite:///{tmp_path}/runs.db"}
        )
    )
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


async def test_anonymous_workflows_need_no_tenant(client: AsyncClient):
    assert (await client.post("/triggers/hello")).json() == "hello"


async def test_a_workflow_that_is_not_anonymous_needs_one_and_every_missing_setting_is_named(tmp_path: Path):
    (tmp_path / "hello.py").write_text("from postern import workflow\n@workflow\nasync def hello(ctx): ...\n", "utf-8")
    with pytest.raises(SettingsFault) as caught:
        create_app(
            load_settings(
                {},
                folder=tmp_path,
                defaults={"workflows": str(tmp_path), "database_url": f"sqlite:///{tmp_path}/runs.db"},
            )
        )
    assert [problem.setting for problem in caught.value.problems] == ["POSTERN_TENANT_ID", "POSTERN_AUDIENCE"]


async def test_health_says_no_more_than_that_the_process_is_alive(client: AsyncClient):
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_run_is_on_record_when_its_reply_arrives_and_its_id_opens_it(client: AsyncClient):
    ran = await client.post("/triggers/hello")
    run_id = ran.headers["x-run-id"]
    record = (await client.get(f"/runs/{run_id}")).json()
    assert (record["id"], record["workflow"], record["state"], record["outputs"]) == (
        run_id,
        "hello",
        "Succeeded",
        "hello",
    )
    again = await client.get(f"/runs/{run_id}/result")
    assert (again.status_code, again.content, again.headers["x-run-id"]) == (200, ran.content, run_id)
    assert (await client.get("/runs")).status_code == 401


@pytest.mark.parametrize("path", ["/", "/triggers", "/nothing", "/healthz/", "/docs/", "/triggers%2Fhello"])
async def test_other_pages_are_a_404_problem_and_never_a_redirect(client: AsyncClient, path: str):
    answer = await client.get(path, headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_a_page_is_found_by_its_raw_path_only(client: AsyncClient, method: str):
    """Whatever is in front of the server compares paths as they are sent, for example to hide `/metrics`."""
    run = (await client.post("/triggers/hello")).headers["x-run-id"]
    application = client._transport.app  # type: ignore[attr-defined]
    *early, later = application.routes
    paths = [route.path.replace("{id}", run) for route in [*early, *later.routes]]
    assert {"/metrics", "/docs", f"/runs/{run}"} <= set(paths)
    for path in [*paths, "/triggers/hello"]:
        for at in range(1, len(path)):
            encoded = f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"
            if "{" in path:
                continue
            sent = client.build_request(method, f"http://postern.test{encoded}")
            assert sent.url.raw_path.decode() == encoded
            answer = await client.send(sent)
            assert answer.status_code == 404, encoded


NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


@asynccontextmanager
async def with_public_url(folder: Path, *, local: bool) -> AsyncIterator[AsyncClient]:
    (folder / "hello.py").write_text(ANONYMOUS, encoding="utf-8")
    database = f"sqlite:///{folder}/runs.db"
    values = {"workflows": str(folder), "database_url": database, "public_url": "http://postern.test"}
    app = create_app(
        load_settings({}, folder=folder, defaults=values), local_tokens=(lambda trigger: "") if local else None
    )
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


@pytest.mark.parametrize("local", [True, False])
async def test_a_web_page_reaches_neither_a_laptop_nor_a_server_by_dns_rebinding(tmp_path: Path, local: bool):
    """Every page and trigger. A browser that opens a page is sent away, with no cookie and nothing of its request."""
    async with with_public_url(tmp_path, local=local) as client:
        for path in ("/triggers/hello", "/runs", "/docs", "/openapi.json", "/healthz", "/metrics", "/nothing"):
            for more in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-origin"}):
                answer = await client.post(path, headers={"Host": "evil.example:80", **more})
                assert (answer.status_code, answer.json()["code"]) == (421, "misdirected-request"), path
                assert "evil" not in answer.text
            without = await client.post(path, headers={"Host": "evil.example"})
            assert (without.status_code == 421) is local, path
        assert (await client.post("/triggers/hello", headers={"Origin": "http://other"})).status_code == 200
        opened = await client.get("/docs?secret=1", headers={"Host": "evil.example", "Cookie": "a=b", **NAVIGATES})
        assert (opened.status_code, opened.headers["location"]) == (303, "http://postern.test/docs")
        assert (opened.headers["cache-control"], "set-cookie" in opened.headers) == ("no-store", False)
        assert (await client.get("/docs", headers=NAVIGATES)).status_code == 200


async def test_without_a_public_url_a_server_answers_every_name(client: AsyncClient):
    browser = {"Host": "any.example", "Origin": "http://any.example"}
    assert (await client.post("/triggers/hello", headers=browser)).status_code == 200


async def test_a_page_by_another_method_says_which_are_taken(client: AsyncClient):
    answer = await client.post("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(("status", "length"), [(204, None), (205, "0")])
async def test_an_answer_without_content_is_framed_so_that_the_next_one_is_not_mistaken_for_it(
    client: AsyncClient, status: int, length: str | None
):
    """RFC 9112, section 6.3: a 204 ends with its head, and a 205 only where it says so."""
    answer = await client.post(f"/triggers/empty/{status}")
    assert (answer.status_code, answer.content, answer.headers.get("content-length")) == (status, b"", length)


async def test_a_validator_that_breaks_is_a_failed_workflow_and_what_was_sent_is_not_logged(client: AsyncClient):
    with capture_logs() as logs:
        answer = await client.post("/triggers/picky", json="SENT")
    assert (answer.status_code, answer.json()["code"]) == (500, "workflow-failed")
    assert logs[-1]["reason"] == "KeyError in a validator of the workflow"
    assert "MARKER" not in answer.text + str(logs)
    assert "SENT" not in answer.text + str(logs)
