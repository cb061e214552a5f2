"""`make check-deploy`: runs all checks of `deploy/`, even after a failure, and prints each with its result.

    .venv-deploy/bin/python -m deploy.checks [WORD ...]

With words, it runs only the checks whose name contains one of them. The exit code is 1 if a check failed.
"""

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from deploy.checks import formats
from deploy.checks.exports import exported
from deploy.checks.security import checkov
from deploy.checks.self_test import self_test
from deploy.checks.tools import Failed

ROOT = Path(__file__).parents[2]
AT_A_TIME = 2

Check = Callable[[], str]


@dataclass
class Checks:
    """The checks of one project, with a folder for their output."""

    root: Path
    work: Path

    def table(self) -> dict[str, Check]:
        """Every check by its name. The slow ones come first."""
        deploy = self.root / "deploy"
        return {
            "checkov: everything": lambda: checkov(deploy, self.built("checkov-built"), self.work),
            "openapi-spec-validator: what postern export writes": lambda: formats.openapi(
                *exported(self.root, self.work / "exports")
            ),
            "promtool: prometheus/": lambda: formats.alerts(deploy / "prometheus"),
            "promtool: grafana/": lambda: formats.dashboard(deploy / "grafana" / "postern.json", self.work / "grafana"),
            "the checks themselves": lambda: self_test(deploy, self.work / "self-test"),
            "hadolint: container/Dockerfile": lambda: formats.dockerfile(deploy / "container" / "Dockerfile"),
            "schema: container/compose.yaml": lambda: formats.compose(deploy / "container" / "compose.yaml"),
            "schema: azure/azure.yaml": lambda: formats.azd(deploy / "azure" / "azure.yaml"),
            "bicep grammar: azure/": lambda: formats.bicep(deploy / "azure"),
            "kubernetes-validate: kubernetes/": lambda: formats.kubernetes(self.built("built")),
            "nginx -t: nginx/": lambda: formats.nginx(deploy / "nginx"),
            "yamllint: every YAML file": lambda: formats.yaml(deploy),
            "shellcheck: every script": lambda: formats.shell(deploy),
        }

    def built(self, name: str) -> list[Path]:
        """The manifests that kubectl builds, in a new folder of this name."""
        return formats.build(self.root / "deploy" / "kubernetes", self.work / name)


def main(words: list[str]) -> int:
    """Run the checks, two at a time, and print each when it ends."""
    with tempfile.TemporaryDirectory(prefix="postern-checks-") as work, ThreadPoolExecutor(AT_A_TIME) as threads:
        checks = Checks(ROOT, Path(work))
        chosen = {name: check for name, check in checks.table().items() if _wanted(name, words)}
        passed = dict(zip(chosen, threads.map(_made, chosen, chosen.values()), strict=True))
    failed = [name for name in passed if not passed[name]]
    if failed or not passed:
        print(f"\n{len(failed)} of {len(passed)} checks failed: {'; '.join(failed)}" if passed else "No such check.")
        return 1
    print(f"\nAll {len(passed)} checks passed.")
    return 0


def _wanted(name: str, words: list[str]) -> bool:
    return not words or any(word in name for word in words)


def _made(name: str, check: Check) -> bool:
    began = monotonic()
    try:
        result, passed = check(), True
    except Failed as failed:
        result, passed = "\n       " + str(failed).replace("\n", "\n       "), False
    except Exception as error:  # one broken check must not hide the others
        result, passed = f"the check itself broke: {error!r}", False
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({monotonic() - began:.1f} s) {result}", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
