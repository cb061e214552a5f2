"""The queries of Grafana's dashboard, for promtool and for the tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$job": "postern", "$workflow": ".*"}
"""The variables of queries, with a value that Grafana could put there."""


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those inside a row too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panels(panel) if panel.get("panels") else ()


def queries(file: Path) -> dict[str, list[str]]:
    """The queries of each panel by its title, with a value for each variable."""
    found: dict[str, list[str]] = {}
    for panel in panels(json.loads(file.read_text(encoding="utf-8"))):
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.setdefault(panel["title"], []).append(expression)
    return found


def as_rules(file: Path) -> str:
    """The queries as recording rules, which promtool checks; as JSON, which is YAML too."""
    expressions = [expression for each in queries(file).values() for expression in each]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    return json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})
