"""The trace of a request, from the pipeline to the workflow, the log and the calls that it makes."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from httpx2 import ASGITransport, MockTransport, Request, Response

from postern.assembly import create_app
from postern.connections import Connections
from postern.http_client import AsyncClient, http_client
from postern.logs import configure_logs, flush_logs
from postern.settings import load_settings
from postern.trace import RUN, Trace, trace_id_of, traceparent
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

TRACE = "0af7651916cd43dd8448eb211c80319c"
FIELD = f"00-{TRACE}-b7ad6b7169203331-01"

MODULE = """
import logging
import structlog
from postern import anonymous, tenant_users, workflow

@workflow(access=anonymous())
async def reports(ctx):
    ctx.log.info("by the context")
    logging.getLogger("library").warning("by a library")
    structlog.get_logger().info("by the author", run_id="own")
    return {"trace_id": ctx.trace_id, "traceparent": ctx.traceparent, "run_id": ctx.run_id}

@workflow(access=anonymous())
def in_a_thread(ctx):
    logging.getLogger("library").warning("by a library")

@workflow(access=anonymous())
async def breaks(ctx, body: int):
    return body
"""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """An application with anonymous workflows."""
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    app = create_app(load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path)))
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


@pytest.fixture
def log() -> Iterator[Any]:
    """What is logged, line by line."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.BytesIO()
    configure_logs("json", stream)

    def lines() -> list[dict[str, Any]]:
        flush_logs()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield lines
    configure_logs("json", io.BytesIO())
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_a_run_belongs_to_the_trace_that_its_request_names(client: AsyncClient):
    found = (await client.post("/triggers/reports", headers={"traceparent": FIELD})).json()
    assert found["trace_id"] == TRACE
    assert found["traceparent"].startswith(f"00-{TRACE}-")


@pytest.mark.parametrize("fields", [[], [FIELD + "x"], [FIELD, FIELD], [FIELD, FIELD.replace("0a", "0b")]])
async def test_without_a_single_valid_one_it_has_a_trace_of_its_own(client: AsyncClient, fields: list[str]):
    answer = await client.post("/triggers/reports", headers=[("traceparent", field) for field in fields])
    assert answer.json()["trace_id"] == trace_id_of(answer.json()["run_id"])


@pytest.mark.parametrize("name", ["reports", "in-a-thread"])
async def test_every_line_that_is_logged_within_a_run_names_it_and_its_trace(client: AsyncClient, log: Any, name: str):
    answer = await client.post(f"/triggers/{name}", headers={"traceparent": FIELD})
    run_id = answer.headers["x-run-id"]
    lines = [line for line in log() if line["event"].startswith("by ")]
    assert len(lines) == (3 if name == "reports" else 1)
    for line in lines:
        assert line["trace_id"] == TRACE
        assert line["run_id"] == ("own" if line["event"] == "by the author" else run_id)


async def test_a_rejected_request_is_logged_with_its_trace(client: AsyncClient, log: Any):
    answer = await client.post("/triggers/breaks", content=b"{", headers={"traceparent": FIELD})
    [line] = [line for line in log() if line["event"] == "request-refused"]
    assert (line["request_id"], line["trace_id"]) == (answer.json()["request_id"], TRACE)


@pytest.mark.parametrize("own", ["", FIELD])
async def test_calls_through_a_connection_name_the_trace_of_the_run(tmp_path: Path, own: str):
    sent: list[str] = []

    def answer(request: Request) -> Response:
        sent.append(request.headers.get("traceparent", ""))
        return Response(200)

    entry = {"base_url": "https://c.example", "auth": {"type": "none"}}
    connections = Connections(load_settings({}, folder=tmp_path, defaults={"connections": {"c": entry}}), "")
    vars(connections)["_pool"] = MockTransport(answer)
    connection = connections.client("c")
    headers = {"traceparent": own} if own else {}
    await connection.get("/", headers=headers)
    token = RUN.set(("run-1", Trace(TRACE, "b7ad6b7169203331", 1)))
    await connection.get("/", headers=headers)
    RUN.reset(token)
    assert sent == [own, own or traceparent("run-1", Trace(TRACE, "b7ad6b7169203331", 1))]
    await connections.aclose()
