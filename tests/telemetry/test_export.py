"""A whole server with a real OTLP collector: spans, metrics and log lines, and the context of traces in and out."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from httpx2 import ASGITransport
from starlette.responses import JSONResponse

from postern.assembly import Application, create_app
from postern.http_client import AsyncClient, http_client
from postern.logs import configure_logs, flush_logs
from postern.settings import load_settings
from postern.trace import request_span_id, run_span_id, trace_id_of
from tests.connections.calling import Counterpart, serving
from tests.databases import put_sqlite
from tests.telemetry.collector import Collector, collecting, values

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.usefixtures("own_modules", "restored_logs")]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
MARKER = "marker-5f1tpvBRhzcQ9n3kE"

MODULE = """
from postern import Context, Problem, anonymous, tenant_users, workflow

def square(n):
    return n * n

@workflow(access=anonymous(), path="/{place}")
async def outside(ctx: Context, place: str) -> int:
    ctx.log.info("on-the-way", place="outside")
    number = await ctx.step(square, 3)
    await ctx.connection("shop").get(f"/things?sig={place}")
    return number

@workflow(access=anonymous())
def failing(ctx: Context) -> None:
    raise RuntimeError("broken")

@workflow(access=tenant_users())
async def guarded(ctx: Context) -> None: ...
"""


class World:
    """An application, its client, the API that it calls, and the collector."""

    def __init__(
        self, app: Application, client: AsyncClient, shop: Counterpart, collector: Collector, output: io.StringIO
    ) -> None:
        self.app = app
        self.client = client
        self.shop = shop
        self.collector = collector
        self.output = output

    @property
    def spans(self) -> dict[str, Any]:
        """The spans by name."""
        return {span.name: span for span in self.collector.spans}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


@asynccontextmanager
async def started(
    folder: Path, collector: Collector, log_format: Literal["console", "json"] = "console"
) -> AsyncIterator[World]:
    """When the block ends, the server has stopped, and all that it noted has been sent."""
    (folder / "hooks.py").write_text(MODULE, encoding="utf-8")
    shop = Counterpart([JSONResponse({})])
    output = io.StringIO()
    configure_logs(log_format, output)
    async with serving(shop) as url:
        mine = {
            "workflows": str(folder),
            "database_url": put_sqlite(folder / ".journal.db"),
            "tenant_id": "11111111-1111-1111-1111-111111111111",
            "audience": ["api://postern"],
            "connections": {"shop": {"base_url": url, "auth": {"type": "none"}}},
        }
        app = create_app(load_settings({}, folder=folder, defaults=mine))
        assert not app.catalog.snapshot.faults
        transport = ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            http_client(base_url="http://postern.test", transport=transport) as client,
        ):
            yield World(app, client, shop, collector, output)


async def test_a_request_has_spans_for_its_steps_its_run_and_its_calls(tmp_path: Path, collector: Collector) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1,other=2"}
    async with started(tmp_path, collector) as world:
        answer = await world.client.post(f"/triggers/outside/{MARKER}?sig={MARKER}", headers=headers)
        assert (answer.status_code, answer.json()) == (200, 9)
        run_id = answer.headers["x-run-id"]
        sent = world.shop.received[0].headers
        record = (await world.client.get(f"/runs/{run_id}")).json()

    spans = world.spans
    route = "/triggers/outside/{place}"
    assert set(spans) == {f"POST {route}", "identify", "read", "reply", "run outside", "step square", "GET"}
    server, run, call = spans[f"POST {route}"], spans["run outside"], spans["GET"]
    assert {span.trace_id.hex() for span in world.collector.spans} == {TRACE} == {record["trace_id"]}
    assert (server.parent_span_id.hex(), server.span_id.hex()) == (PARENT, request_span_id(run_id))
    for name in ("identify", "read", "reply", "run outside"):
        assert spans[name].parent_span_id == server.span_id
        assert server.start_time_unix_nano <= spans[name].start_time_unix_nano
        assert spans[name].end_time_unix_nano <= server.end_time_unix_nano
    assert run.span_id.hex() == run_span_id(run_id)
    assert {spans["step square"].parent_span_id, call.parent_span_id} == {run.span_id}
    assert sent["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=1,other=2" == server.trace_state
    assert [server.kind, call.kind, run.kind] == [2, 3, 1]
    assert values(server.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": route,
        "postern.caller.kind": "anonymous",
        "postern.workflow": "outside",
        "url.scheme": "http",
    }
    assert values(call.attributes) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "postern.entry": "connections.shop",
        "server.address": "127.0.0.1",
    }
    assert values(run.attributes) == {"postern.workflow": "outside", "postern.run.state": "Succeeded"}
    assert values(spans["step square"].attributes) == {"postern.attempts": 1}


async def test_no_path_query_header_or_body_is_in_what_is_sent(tmp_path: Path, collector: Collector) -> None:
    headers = {"authorization": f"Bearer {MARKER}", "cookie": MARKER, "x-key": MARKER}
    async with started(tmp_path, collector) as world:
        for path in (f"outside/{MARKER}", "failing", "guarded", f"unknown-{MARKER}", f"%{MARKER}"):
            await world.client.post(f"/triggers/{path}?sig={MARKER}", headers=headers, content=MARKER.encode())

    assert {"POST /triggers/guarded", "POST /triggers/failing", "POST"} <= set(world.spans)
    assert world.collector.logs
    assert all(MARKER.encode() not in body for body in world.collector.bodies)


async def test_how_requests_failed(tmp_path: Path, collector: Collector) -> None:
    async with started(tmp_path, collector) as world:
        statuses = [(await world.client.post(f"/triggers/{name}")).status_code for name in ("failing", "guarded", "no")]
    assert statuses == [500, 401, 404]

    failed, guarded = world.spans["POST /triggers/failing"], world.spans["POST /triggers/guarded"]
    assert (failed.status.code, values(failed.attributes)["error.type"]) == (2, "500")
    assert (world.spans["run failing"].status.code, guarded.status.code) == (2, 0)
    assert values(world.spans["POST"].attributes)["http.response.status_code"] == 404
    assert b"broken" not in b"".join(span.SerializeToString() for span in world.collector.spans)


@pytest.mark.parametrize(
    ("sampler", "argument", "flags", "kept"),
    [
        ("", "", "00", False),
        ("", "", "01", True),
        ("", "", None, True),
        ("always_off", "", "01", False),
        ("parentbased_always_off", "", None, False),
        ("traceidratio", "0.0", "01", False),
        ("parentbased_traceidratio", "0.0", "01", True),
        ("always_on", "", "00", True),
    ],
)
async def test_the_sampler_decides_and_calls_out_say_so(
    tmp_path: Path,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    argument: str,
    flags: str | None,
    kept: bool,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"} if flags is not None else {}
    async with started(tmp_path, collector) as world:
        run_id = (await world.client.post("/triggers/outside/x", headers=headers)).headers["x-run-id"]
        record = (await world.client.get(f"/runs/{run_id}")).json()

    expected = TRACE if flags is not None else trace_id_of(run_id)
    assert record["trace_id"] == expected
    assert bool(world.collector.spans) == kept
    assert {span.trace_id.hex() for span in world.collector.spans} == ({expected} if kept else set())
    sent = world.shop.received[0].headers["traceparent"].split("-")
    assert (sent[1], sent[3]) == (expected, "01" if kept else "00")


async def test_log_lines_are_sent_with_their_trace(tmp_path: Path, collector: Collector) -> None:
    async with started(tmp_path, collector) as world:
        answer = await world.client.post("/triggers/outside/x")
        failed = await world.client.post("/triggers/failing")
    run_id = answer.headers["x-run-id"]

    (line,) = [record for record in world.collector.logs if record.body.string_value == "on-the-way"]
    assert (line.severity_text, line.severity_number) == ("INFO", 9)
    assert (line.trace_id.hex(), line.span_id.hex()) == (trace_id_of(run_id), run_span_id(run_id))
    found = values(line.attributes)
    assert (found["workflow"], found["run_id"], found["place"]) == ("outside", run_id, "outside")
    assert abs(line.time_unix_nano - line.observed_time_unix_nano) < 60 * 10**9
    (ended,) = [record for record in world.collector.logs if record.body.string_value == "run-ended"]
    assert ended.trace_id.hex() == trace_id_of(failed.headers["x-run-id"])


async def test_metrics_have_the_names_and_numbers_of_the_page_for_prometheus(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    async with started(tmp_path, collector) as world:
        for _ in range(3):
            await world.client.post("/triggers/outside/x")
        async with asyncio.timeout(20):
            while sum(_requests(world.collector.metrics.get("postern_requests_total")).values()) < 3:
                await asyncio.sleep(0.01)
        page = (await world.client.get("/metrics")).text

    metrics = world.collector.metrics
    counter = metrics["postern_requests_total"].sum
    assert (counter.is_monotonic, counter.aggregation_temporality) == (True, 2)
    assert _requests(metrics["postern_requests_total"]) == {("outside", "anonymous", "succeeded"): 3}
    (histogram,) = metrics["postern_run_duration_seconds"].histogram.data_points
    assert (histogram.count, sum(histogram.bucket_counts)) == (3, 3)
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1
    named = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    assert set(metrics) <= named
    assert {"postern_nodes", "postern_build_info", "postern_journal_commit_seconds"} <= set(metrics)


def _requests(metric: Any) -> dict[tuple[str, ...], float]:
    points = metric.sum.data_points if metric is not None else ()
    labels = ("workflow", "mode", "outcome")
    return {tuple(values(each.attributes)[name] for name in labels): each.as_double for each in points}


async def test_the_service_is_named_by_the_operator(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "flows")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    async with started(tmp_path, collector) as world:
        await world.client.post("/triggers/failing")

    found = world.collector.resources[0]
    assert (found["service.name"], found["deployment.environment.name"]) == ("flows", "test")
    assert len(found["service.instance.id"]) == 8


async def test_a_collector_that_does_not_answer_holds_neither_requests_nor_the_stop(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postern.assembly.telemetry.CLOSE_SECONDS", 0.2)
    collector.hold.clear()
    async with asyncio.timeout(20), started(tmp_path, collector) as world:
        for _ in range(20):
            assert (await world.client.post("/triggers/outside/x")).status_code == 200
    assert world.collector.spans == []


async def test_a_collector_that_refuses_is_one_line_in_the_log(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    collector.status = 400
    async with started(tmp_path, collector, "json") as world:
        await world.client.post("/triggers/outside/x")
    flush_logs()

    lines = [json.loads(line) for line in world.output.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "telemetry-not-exported"]
    assert len(told) == 1
    assert told[0]["logger"] == "postern.telemetry"
    assert not any("opentelemetry" in line.get("logger", "") for line in lines)


async def test_variables_that_are_wrong_switch_telemetry_off_and_stop_no_server(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-7")
    async with started(tmp_path, collector) as world:
        assert (await world.client.post("/triggers/outside/x")).status_code == 200
    flush_logs()

    (off,) = [line for line in world.output.getvalue().splitlines() if "telemetry-off" in line]
    assert "ValueError at its start" in off
    assert "telemetry-on" not in world.output.getvalue()
    assert collector.spans == []


async def test_without_an_endpoint_nothing_is_traced_and_the_trace_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": "vendor=1"}
    async with started(tmp_path, Collector()) as world:
        run_id = (await world.client.post("/triggers/outside/x", headers=headers)).headers["x-run-id"]
        assert world.app._trigger is world.app.pipeline
        assert world.app.pipeline.gate.answered is None
    sent = world.shop.received[0].headers
    assert (sent["traceparent"], sent["tracestate"]) == (f"00-{TRACE}-{run_span_id(run_id)}-00", "vendor=1")
