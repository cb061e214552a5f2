"""`/metrics` as Prometheus reads it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from httpx2 import ASGITransport
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.requests import Request

from postern.api.figures import Figure
from postern.api.metrics import (
    Metrics,
    blocked_loop_metrics,
    build_metrics,
    catalog_metrics,
    grant_metrics,
    journal_metrics,
    key_metrics,
    node_metrics,
    request_metrics,
    secret_metrics,
    storage_metrics,
    thread_metrics,
)
from postern.assembly import create_app
from postern.histogram import SECONDS, Batches, Histogram
from postern.http_client import AsyncClient, http_client
from postern.journal.storage import Sums
from postern.settings import load_settings
from postern.triggers.request_counts import RequestCounts
from tests.pipeline.pipelines import defaults_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

REQUEST = Request({"type": "http", "method": "GET", "headers": []})

MODULE = """
import asyncio
from postern import Problem, anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"

@workflow(access=anonymous())
async def fails(ctx):
    raise Problem(409, code="of-the-author")

@workflow(access=anonymous(), timeout=0.01)
async def slow(ctx):
    await asyncio.Event().wait()

@workflow(access=anonymous())
async def waits(ctx):
    await asyncio.Event().wait()
"""


class Journal:
    """What the journal counts."""

    queued = 3

    def __init__(self) -> None:
        self.batches = Batches()


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def values(text: str, name: str, *labels: str) -> dict[Any, float]:
    """The values of one metric by these labels."""
    return {tuple(s.labels[each] for each in labels): s.value for s in samples(text) if s.name == name}


def sources(requests: RequestCounts, **more: Any) -> Metrics:
    """Metrics of a server with these counts."""
    given: dict[str, Any] = {
        "running": dict,
        "key_ages": dict,
        "nodes": lambda: 2,
        "faults": lambda: 1,
        "secret_ends": dict,
    } | more
    collect = [
        request_metrics(requests, given["running"], lambda: {"a": 1, "gone": 0}),
        thread_metrics(requests, lambda: {"a": 40}, lambda: {"a": 7, "gone": 1}),
        blocked_loop_metrics(lambda: {"a": 3}),
        key_metrics(given["key_ages"]),
        node_metrics(given["nodes"]),
        catalog_metrics(given["faults"]),
        secret_metrics(given["secret_ends"]),
        grant_metrics(lambda: {("tickets", "Broken"): 2, ("wiki", "Needed"): 1}, {"renewed": 5}, Histogram(SECONDS)),
        build_metrics("9.9"),
        storage_metrics(lambda: Sums(5000, {("hello", "a"): 30, ("hello", "b"): 20}, {("hello", ""): 10})),
    ]
    if "journal" in given:
        collect.append(journal_metrics(given["journal"]))
    return Metrics("12345678", collect, requests.settle)


async def scrape(given: Metrics) -> str:
    answer = await given.answer(REQUEST)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return bytes(answer.body).decode()


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


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_what_a_proxy_passed_on_finds_no_metrics(client: AsyncClient, name: str):
    assert (await client.get("/metrics")).status_code == 200
    answer = await client.get("/metrics", headers={name: "203.0.113.9"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_requests_are_counted_by_how_they_ended(client: AsyncClient):
    for path in ("hello", "hello", "fails", "slow", "nothing", "nothing/else"):
        await client.post(f"/triggers/{path}")
    await client.get("/triggers/hello")
    await client.post("/triggers/hello", content=b"{")
    text = (await client.get("/metrics")).text
    counted = values(text, "postern_requests_total", "workflow", "mode", "outcome")
    assert counted == {
        ("hello", "anonymous", "succeeded"): 3,  # it takes no body, so none is looked at
        ("hello", "anonymous", "method-not-allowed"): 1,
        ("fails", "anonymous", "failed"): 1,
        ("slow", "anonymous", "timed_out"): 1,
        ("", "", "unknown-trigger"): 2,
    }
    durations = values(text, "postern_run_duration_seconds_count", "workflow")
    assert durations == {("hello",): 3, ("fails",): 1, ("slow",): 1, ("",): 0}
    assert values(text, "postern_run_duration_seconds_bucket", "workflow", "le")["slow", "+Inf"] == 1
    assert values(text, "postern_run_duration_seconds_bucket", "workflow", "le")["slow", "0.005"] == 0


async def test_runs_that_have_not_ended_are_shown(client: AsyncClient):
    request = asyncio.create_task(client.post("/triggers/waits"))
    async with asyncio.timeout(10):
        while values((await client.get("/metrics")).text, "postern_runs_running", "workflow") != {("waits",): 1}:
            await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert values((await client.get("/metrics")).text, "postern_runs_running", "workflow") in ({}, {("waits",): 0})


async def test_every_sample_names_its_process_and_the_build_its_version(client: AsyncClient):
    await client.post("/triggers/hello")
    found = samples((await client.get("/metrics")).text)
    assert {len(sample.labels["process"]) for sample in found} == {8}
    assert [sample.labels["version"] for sample in found if sample.name == "postern_build_info"] != [""]


async def test_all_that_was_promised_is_there():
    requests = RequestCounts(lambda: {"a"})
    requests.count("a", "anonymous", "succeeded")
    journal = Journal()
    for size in (1, 8, 9, 5000):
        journal.batches.sizes.observe(size)
    journal.batches.seconds.observe(0.004)
    ages = {"t1": 12.5, "t2": None}
    given = sources(
        requests,
        running=lambda: {"a": 2},
        key_ages=lambda: ages,
        journal=journal,
        secret_ends=lambda: {"graph-secret": 2e9},
    )
    text = await scrape(given)
    assert {sample.name for sample in samples(text)} == {
        "postern_database_bytes",
        "postern_stored_bytes",
        "postern_requests_total",
        "postern_run_duration_seconds_bucket",
        "postern_run_duration_seconds_count",
        "postern_run_duration_seconds_sum",
        "postern_runs_running",
        "postern_runs_abandoned",
        "postern_threads_busy",
        "postern_threads_waiting",
        "postern_event_loop_blocked_total",
        "postern_journal_batch_size_bucket",
        "postern_journal_batch_size_count",
        "postern_journal_batch_size_sum",
        "postern_journal_queue_length",
        "postern_journal_commit_seconds_bucket",
        "postern_journal_commit_seconds_count",
        "postern_journal_commit_seconds_sum",
        "postern_signing_keys_age_seconds",
        "postern_nodes",
        "postern_catalog_faults",
        "postern_secret_expires_timestamp_seconds",
        "postern_grants",
        "postern_grant_refreshes_total",
        "postern_grant_refresh_seconds_bucket",
        "postern_grant_refresh_seconds_count",
        "postern_grant_refresh_seconds_sum",
        "postern_build_info",
    }
    assert values(text, "postern_journal_queue_length", "process") == {("12345678",): 3}
    assert values(text, "postern_threads_busy", "workflow") == {("a",): 40}
    assert values(text, "postern_threads_waiting", "workflow") == {("a",): 7, ("",): 1}
    assert values(text, "postern_nodes", "process") == {("12345678",): 2}
    assert values(text, "postern_catalog_faults", "process") == {("12345678",): 1}
    assert values(text, "postern_signing_keys_age_seconds", "tenant") == {("t1",): 12.5, ("t2",): float("inf")}
    assert values(text, "postern_secret_expires_timestamp_seconds", "secret") == {("graph-secret",): 2e9}
    assert values(text, "postern_grants", "connection", "state") == {("tickets", "Broken"): 2, ("wiki", "Needed"): 1}
    assert values(text, "postern_grant_refreshes_total", "outcome") == {("renewed",): 5}
    assert values(text, "postern_build_info", "version") == {("9.9",): 1}
    sizes = values(text, "postern_journal_batch_size_bucket", "le")
    assert [sizes[bound,] for bound in ("1.0", "8.0", "16.0", "1024.0", "+Inf")] == [1, 2, 3, 3, 4]
    assert values(text, "postern_journal_batch_size_sum", "process") == {("12345678",): 5018}


async def test_runs_of_workflows_without_a_name_in_the_metrics_are_summed():
    requests = RequestCounts(lambda: {"a"}, most=1)
    text = await scrape(sources(requests, running=lambda: {"a": 1, "gone": 2, "gone too": 3, "ended": 0}))
    assert values(text, "postern_runs_running", "workflow") == {("a",): 1, ("",): 5}


async def test_labels_stay_bounded_for_any_requests(client: AsyncClient):
    for n in range(200):
        await client.post(f"/triggers/no-{n}/{n}?{n}")
    text = (await client.get("/metrics")).text
    assert set(values(text, "postern_requests_total", "workflow")) == {("",)}
    assert len(text) < 20_000


async def test_names_of_tenants_and_workflows_are_escaped():
    text = await scrape(sources(RequestCounts(dict), key_ages=lambda: {'a"\n\\b': 1.0}))
    assert values(text, "postern_signing_keys_age_seconds", "tenant") == {('a"\n\\b',): 1}


async def test_the_size_of_the_database_and_of_what_is_bounded_in_it():
    text = await scrape(sources(RequestCounts(served=dict)))
    assert values(text, "postern_database_bytes", "process") == {("12345678",): 5000}
    assert values(text, "postern_stored_bytes", "kind") == {("idempotency-keys",): 50, ("anonymous-runs",): 10}


async def test_the_event_loop_reads_what_it_counts_and_no_other_thread():
    threads = set()

    def collect() -> list[Figure]:
        threads.add(get_ident())
        return []

    metrics = Metrics("12345678", [collect], lambda: threads.add(get_ident()))
    await scrape(metrics)
    await metrics.families()
    assert threads == {get_ident()}
