"""Checks everything in `deploy/` with checkov, except for the exceptions with a reason in `exceptions.yaml`.

One run checks a folder of copies, because checkov takes seconds to start. The folder also has baits, files with known
faults. If checkov finds no fault in one of them, checkov itself does not work.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from deploy.checks.tools import Failed, run

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")

POD = """
apiVersion: v1
kind: Pod
metadata: {name: bait}
spec:
  containers: [{name: bait, image: bait, securityContext: {privileged: true}}]
"""
STORAGE = """
resource bait 'Microsoft.Storage/storageAccounts@2023-01-01' = {
  name: 'bait'
  location: 'x'
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: { allowBlobPublicAccess: true }
}
"""
UNREAD = "unread"
"""The check that fails for a file that checkov cannot read."""

BAITS = {
    "dockerfile": ("Dockerfile", "FROM debian\nUSER root\n"),
    "kubernetes": ("pod.yaml", POD),
    "bicep": ("main.bicep", STORAGE),
    "secrets": ("key.yaml", "key: AKIA" + "QYLPMN5HFIQR7XYA\n"),
}
"""A file with a fault for each of checkov's readers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of checkov, and its place."""

    check: str
    name: str
    file: str
    resource: str

    def __str__(self) -> str:
        return f"{self.check} {self.file} {self.resource}: {self.name}"


def exceptions() -> list[Mapping[str, str]]:
    """The allowed findings: `check`, `file` (a pattern), the `reason`, and optionally `resource` (a pattern)."""
    return list(yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8")))


def checkov(deploy: Path, built: Iterable[Path], work: Path) -> str:
    """Check the Dockerfile, the built manifests and the Bicep files for unsafe settings, and these, the scripts and the
    configurations for secrets."""
    folder = work / "checkov"
    _copy(deploy, built, folder)
    reports = _reports(folder)
    problems = [*_asleep(reports), *_judge(list(_findings(reports, folder)), exceptions())]
    if problems:
        raise Failed("\n".join(problems))
    return f"{len(exceptions())} exceptions"


def _copy(deploy: Path, built: Iterable[Path], folder: Path) -> None:
    patterns = ("**/Dockerfile", "**/*.yaml", "**/*.bicep", "**/*.bicepparam", "**/*.json", "**/*.sh", "**/*.conf")
    for path in sorted({path for pattern in patterns for path in deploy.glob(pattern)}):
        if "kubernetes" not in path.relative_to(deploy).parts:  # the built manifests are checked instead
            to = folder / path.relative_to(deploy)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    (folder / "kubernetes").mkdir(parents=True)
    for path in built:
        shutil.copy(path, folder / "kubernetes")
    for reader, (name, text) in BAITS.items():
        (folder / "bait" / reader).mkdir(parents=True)
        (folder / "bait" / reader / name).write_text(text, encoding="utf-8")


def _reports(folder: Path) -> list[dict[str, Any]]:
    written = run(
        "checkov", "--directory", ".", "--framework", *BAITS, "--skip-download", "--soft-fail",
        "--compact", "--output", "json", folder=folder, more={"LOG_LEVEL": "ERROR"},
    )  # fmt: skip
    try:
        found = json.loads(written)
    except ValueError:
        raise Failed(f"checkov wrote no report: {written[:500]}") from None
    return list(found) if isinstance(found, list) else [found]


def _findings(reports: list[dict[str, Any]], folder: Path) -> Iterator[Finding]:
    for report in reports:
        for path in report["results"].get("parsing_errors") or ():
            file = str(path).removeprefix(f"{folder.resolve()}/").lstrip("/")
            yield Finding(UNREAD, "checkov cannot read it", file, report["check_type"])
        for found in report["results"]["failed_checks"]:
            resource = "" if report["check_type"] == "secrets" else found["resource"]  # a secret's digest
            yield Finding(found["check_id"], found["check_name"], found["file_path"].lstrip("/"), resource)


def _asleep(reports: list[dict[str, Any]]) -> Iterator[str]:
    """Readers that found nothing wrong with their bait."""
    for reader, (name, _) in BAITS.items():
        bait = f"/bait/{reader}/{name}"
        found = [each for each in reports if each["check_type"] == reader]
        if not any(finding["file_path"] == bait for report in found for finding in report["results"]["failed_checks"]):
            yield f"checkov found nothing wrong with a faulty file for {reader}: it does not work"


def _judge(findings: list[Finding], allowed: list[Mapping[str, str]]) -> Iterator[str]:
    """Findings that no exception covers, and exceptions that cover none."""
    used: set[int] = set()
    for finding in findings:
        covering = [number for number, exception in enumerate(allowed) if _covers(exception, finding)]
        used.update(covering)
        if not covering and not finding.file.startswith("bait/"):
            yield str(finding)
    for number, exception in enumerate(allowed):
        if number not in used:
            yield f"{exception['check']} {exception['file']}: this exception covers nothing any more: remove it"


def _covers(exception: Mapping[str, str], finding: Finding) -> bool:
    return (
        finding.check == exception["check"]
        and fnmatchcase(finding.file, exception["file"])
        and fnmatchcase(finding.resource, exception.get("resource", "*"))
    )
