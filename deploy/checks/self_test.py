"""Runs every check on a planted fault: a check that misses it would pass everything."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.checks import formats
from deploy.checks.tools import Failed

RULE = """
groups:
  - name: a
    rules:
      - {alert: Down, expr: up == 0}
"""
TRIAL = """
rule_files: [alerts.yaml]
tests:
  - interval: 1m
    input_series: [{series: "up", values: "1x9"}]
    promql_expr_test: [{expr: 'ALERTS{alertname="Down"}', eval_time: 5m, exp_samples: [{labels: "up", value: 1}]}]
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers: [{name: a, image: a, lifecycle: {preStop: {slumber: {seconds: 1}}}}]
"""
PROXY = "server { listen 127.0.0.1:18080; proxy_passes http://127.0.0.1; }\n"
NO_VERSION = '{"openapi": "3.1.0", "info": {"title": "a"}, "paths": {}}'


@dataclass(frozen=True, slots=True)
class Case:
    """Files with a fault, the check that must find it, and a word that its message must contain."""

    fault: str
    written: Mapping[str, str]
    check: Callable[[Path], object]
    word: str


CASES = [
    Case(
        "an image of no version",
        {"Dockerfile": "FROM debian\n"},
        lambda f: formats.dockerfile(f / "Dockerfile"),
        "DL3006",
    ),
    Case(
        "a key unknown to compose",
        {"a.yaml": "services: {a: {imag: x}}\n"},
        lambda f: formats.compose(f / "a.yaml"),
        "imag",
    ),
    Case(
        "a host unknown to azd",
        {"a.yaml": "name: postern\ninfra: {}\nservices: {a: {host: containerapps, project: .}}\n"},
        lambda f: formats.azd(f / "a.yaml"),
        "containerapp",
    ),
    Case("a field unknown to Kubernetes", {"a.yaml": POD}, lambda f: formats.kubernetes([f / "a.yaml"]), "slumber"),
    Case(
        "a missing manifest",
        {"overlays/a/kustomization.yaml": "resources: [b.yaml]\n"},
        lambda f: formats.build(f, f / "out"),
        "b.yaml",
    ),
    Case(
        "an expression that ends early",
        {"prometheus.yaml": "{}\n", "alerts.yaml": RULE.replace("== 0", "=="), "a.test.yaml": TRIAL},
        formats.alerts,
        "parse",
    ),
    Case(
        "an alert that does not fire",
        {"prometheus.yaml": "{}\n", "alerts.yaml": RULE, "a.test.yaml": TRIAL},
        formats.alerts,
        "got: nil",
    ),
    Case("a directive unknown to nginx", {"postern.conf": PROXY}, formats.nginx, "proxy_passes"),
    Case("an API of no version", {"a.json": NO_VERSION}, lambda f: formats.openapi(f / "a.json"), "version"),
    Case("a missing bracket", {"a.bicep": "param a string = concat('b'\n"}, formats.bicep, "a.bicep:1"),
    Case("a key twice", {"a.yaml": "a: 1\na: 2\n"}, formats.yaml, "duplication"),
    Case("an open quote", {"a.sh": "#!/bin/sh\necho 'a\n"}, formats.shell, "nterminated"),
    Case("a name that is not set", {"a.sh": '#!/bin/sh\necho "$a"\n'}, formats.shell, "SC2154"),
    Case("no files to check", {}, formats.yaml, "no file"),
]


def self_test(deploy: Path, work: Path) -> str:
    """Run each check on its fault. Raises Failed with the faults that were not found."""
    missed = [text for case in CASES if (text := _missed(case, work / case.fault.replace(" ", "-"), deploy))]
    if missed:
        raise Failed("\n".join(missed))
    return f"{len(CASES)} faults found"


def _missed(case: Case, folder: Path, deploy: Path) -> str:
    """The problem of the check; "" if it found the fault."""
    folder.mkdir(parents=True)
    if case.check is formats.nginx:
        shutil.copy(deploy / "nginx" / "check.sh", folder)
    for path, text in case.written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    try:
        case.check(folder)
    except Failed as failed:
        return "" if case.word in str(failed) else f"{case.fault}: another message was reported: {failed}"
    return f"{case.fault}: it was not found"
