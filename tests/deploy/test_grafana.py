"""Every query of Grafana's dashboard is about metrics and labels of a running server."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.checks.grafana import as_rules, panels, queries
from postern.api.gateway_metrics import GatewayFigures, gateway_metrics
from postern.api.metric_families import families
from postern.api.metrics import (
    blocked_loop_metrics,
    finding_metrics,
    grant_metrics,
    revocation_metrics,
    thread_metrics,
)
from postern.histogram import Histogram
from postern.triggers.request_counts import OUTCOMES, RequestCounts
from tests.deploy.test_alerts import OF_PROMETHEUS, reported  # noqa: F401
from tests.tools import needed

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
FILE = FOLDER / "postern.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
ALL = [expression for each in queries(FILE).values() for expression in each]


@pytest.mark.process
async def test_every_metric_and_label_of_the_queries_is_one_that_a_running_server_has(
    reported: Mapping[str, set[str]],  # noqa: F811
) -> None:
    rare = [*grant_metrics(dict, {"renewed": 1}, Histogram([1.0]))()]  # there is none at the start
    rare += thread_metrics(RequestCounts(dict), lambda: {"hello": 1}, lambda: {"hello": 1})()
    rare += finding_metrics(lambda: {"new-network": 1}, lambda: {"started": 1})()
    rare += revocation_metrics(lambda: 1, lambda: 0.5)()
    figures = GatewayFigures(1, 0, {"opened": 1}, 0, 0, {"madrid-1": 0.01})
    rare += gateway_metrics(lambda: {"madrid": figures})()
    rare += blocked_loop_metrics(lambda: {"hello": 1})()
    reported = {
        **reported,
        **{each.name: set(each.labels) for family in families("p", rare) for each in family.samples},
    }
    for expression in ALL:
        text = re.sub(r'"[^"]*"', '""', expression)
        metrics = set(re.findall(r"\b(?:postern_\w+|up)\b", text))
        assert metrics, expression
        assert metrics <= set(reported), expression
        for metric, matchers in re.findall(r"\b(postern_\w+|up)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*=", matchers)) <= reported[metric] | OF_PROMETHEUS, expression
        known = set().union(*(reported[metric] for metric in metrics)) | OF_PROMETHEUS
        for named in re.findall(r"\bby \(([^)]*)\)", text):
            assert set(re.split(r",\s*", named)) <= known, expression


def test_every_outcome_of_the_queries_is_one_that_is_counted() -> None:
    named = {value for expression in ALL for value in re.findall(r'outcome=~?"([^"]*)"', expression)}
    assert {outcome for value in named for outcome in value.split("|")} <= OUTCOMES


def test_every_legend_uses_labels_that_its_query_leaves() -> None:
    for panel in panels(DASHBOARD):
        for target in panel.get("targets", ()):
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
            assert used <= (set(re.split(r",\s*", kept[1])) if kept else set()), target


def test_every_variable_of_a_query_is_one_of_the_dashboard() -> None:
    own = {f"${variable['name']}" for variable in DASHBOARD["templating"]["list"]} | {"$__rate_interval", "$__range"}
    for panel in panels(DASHBOARD):
        for target in panel.get("targets", ()):
            assert set(re.findall(r"\$\w+", target["expr"])) <= own, target
        if "targets" in panel:
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_panel_has_its_own_place_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in panels(DASHBOARD)]
    assert len(ids) == len(set(ids))
    for panel in panels(DASHBOARD):
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or len(panel["description"]) > 15, panel["title"]


@pytest.mark.process
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    promtool = needed("promtool")
    (tmp_path / "rules.yaml").write_text(as_rules(FILE), encoding="utf-8")
    checked = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALL)} rules found" in checked.stdout + checked.stderr
