"""The alert rules use the metrics of a running server, and each of them is tested."""

import asyncio
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx2 import ASGITransport
from prometheus_client.parser import text_string_to_metric_families

from postern.assembly import create_app
from postern.connections.vault.expiry import Expiry
from postern.failures import notifier
from postern.http_client import http_client
from postern.journal.server_processes import BEAT_EVERY
from postern.journal.writing.queue import MAX_QUEUED
from postern.local_tenant import LocalTenant
from postern.schedules import scheduler
from postern.settings import Settings
from postern.triggers.request_counts import OUTCOMES
from tests.connections.grants.granting import TICKETS
from tests.pipeline.pipelines import settings_for

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
OF_PROMETHEUS = {"job", "instance"}
"""Labels that the scrape puts on."""

MODULE = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"
"""


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def tried() -> list[dict[str, Any]]:
    files = sorted(FOLDER.glob("alerts*.test.yaml"))
    tests = [test for file in files for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]]
    return [case for test in tests for case in test["promql_expr_test"]]


def expression(alert: str) -> str:
    """Of an alert that stands there once."""
    (found,) = [rule["expr"] for rule in rules() if rule["alert"] == alert]
    return str(found)


@pytest.fixture
async def reported(
    local_tenant: LocalTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, set[str]]:
    """The labels of every metric of a running server, by its name."""
    monkeypatch.setattr(Expiry, "ends", {"graph-secret": 2e9})  # the first check of the vault comes after a while
    (tmp_path / "w.py").write_text(MODULE, encoding="utf-8")
    wiki = {"base_url": "https://wiki.example", "auth": TICKETS | {"per_user": False}}
    madrid = {"madrid": {"agents": ["ada"]}}
    more = {"connections": {"wiki": wiki}, "grants_key_name": "grants-key", "gateways": madrid}
    app = create_app(settings_for(local_tenant, tmp_path, **more))
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        await client.post("/triggers/hello")
        text = (await client.get("/metrics")).text
        async with asyncio.timeout(10):
            while "postern_grants{" not in text:  # they are counted soon after the start
                await asyncio.sleep(0.01)
                text = (await client.get("/metrics")).text
    labels: dict[str, set[str]] = {"up": set()}
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.process
async def test_every_metric_and_label_of_the_rules_is_one_that_a_running_server_has(reported: Mapping[str, set[str]]):
    for rule in rules():
        text = re.sub(r'"[^"]*"', '""', rule["expr"])
        metrics = set(re.findall(r"\b(?:postern_\w+|up)\b", text))
        assert metrics, rule
        assert metrics <= set(reported), rule
        for metric, matchers in re.findall(r"\b(postern_\w+|up)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*=", matchers)) <= reported[metric] | OF_PROMETHEUS, rule
        known = set().union(*(reported[metric] for metric in metrics)) | OF_PROMETHEUS
        for named in re.findall(r"\bby \(([^)]*)\)", text):
            assert set(re.split(r",\s*", named)) <= known, rule


def test_every_outcome_of_the_rules_is_one_that_is_counted():
    counted = {
        "postern_requests_total": OUTCOMES,
        "postern_schedules_total": set(scheduler.OUTCOMES),
        "postern_failure_notices_total": set(notifier.OUTCOMES),
    }
    for rule in rules():
        for metric, values in re.findall(r'(\w+)\{[^}]*outcome=~?"([^"]*)"', rule["expr"]):
            assert set(values.split("|")) <= counted[metric], rule


def test_every_label_of_a_sentence_is_one_that_its_expression_leaves():
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        used = set(re.findall(r"\$labels\.(\w+)", texts))
        if kept := re.search(r"\bby \(([^)]*)\)", rule["expr"]):
            assert used <= set(re.split(r",\s*", kept[1])), rule
        else:
            assert used <= OF_PROMETHEUS, rule


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert len(rule["annotations"]["description"]) > 80, rule


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not():
    def alerts(*, fires: bool) -> set[str]:
        cases = [case for case in tried() if bool(case["exp_samples"]) == fires]
        return {match[1] for case in cases if (match := re.search(r'alertname="(\w+)"', case["expr"]))}

    assert alerts(fires=True) == alerts(fires=False) == {rule["alert"] for rule in rules()}


def test_every_step_to_the_end_of_a_secret_is_tried():
    expected = " ".join(str(case["exp_samples"]) for case in tried())
    assert {days for days in ("30", "14", "7", "1") if f'days="{days}"' in expected} == {"30", "14", "7", "1"}


def test_the_bounds_fit_the_servers_own():
    stale, refreshed = (Settings.model_fields[name].default for name in ("keys_stale", "keys_max_age"))
    old, ends = (
        int(re.findall(r"> (\d+) \* 3600", expression(alert))[0]) * 3600
        for alert in ("PosternKeysOld", "PosternKeysAboutToEnd")
    )
    assert 2 * refreshed < old < ends < stale
    assert f"> {MAX_QUEUED // 2}" in expression("PosternJournalQueue")
    assert BEAT_EVERY * 10 < 120
    assert "[2m]" in expression("PosternJournalStopped")


def test_the_page_lists_the_alerts_with_their_severity():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", page, re.MULTILINE)
    reported = {alert: set(levels.split(", ")) for alert, levels in rows}
    written: dict[str, set[str]] = {}
    for rule in rules():
        written.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert reported == written
