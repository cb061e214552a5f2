"""Checks of one kind of file each. A check returns in a few words what it checked, or raises Failed."""

import re
import shutil
from pathlib import Path

from deploy.checks.grafana import as_rules
from deploy.checks.tools import Failed, files, program, run

HERE = Path(__file__).parent
AZD_SCHEMA = HERE / "azure.yaml.schema.json"

OLDEST_KUBERNETES = "1.30.0"
"""The oldest version that the manifests support: from this one on preStop.sleep needs no feature gate. The
newest is the newest that kubernetes-validate supports."""

LINES = """
extends: default
rules:
  line-length: {max: 120, allow-non-breakable-inline-mappings: true}
  comments: {min-spaces-from-content: 1}
  braces: {max-spaces-inside: 1}
  truthy: {check-keys: false}
  document-start: disable
"""
"""The rules of yamllint beyond the format itself."""


def dockerfile(path: Path) -> str:
    """A Dockerfile, by hadolint, warnings included."""
    run("hadolint", "--no-color", path.name, folder=path.parent)
    return path.name


def compose(path: Path) -> str:
    """A Compose file, by the schema of the Compose specification."""
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path.name, folder=path.parent)
    return path.name


def azd(path: Path) -> str:
    """azd's `azure.yaml`, by our own schema of the parts that we use."""
    run("check-jsonschema", "--schemafile", AZD_SCHEMA, path.name, folder=path.parent)
    return path.name


def build(folder: Path, out: Path) -> list[Path]:
    """Build every overlay of a folder, and the deployers' rights, into one file each. An old kubectl (Debian 12 has
    1.20) accepts folders only as `bases`, so it gets a changed copy."""
    out.mkdir(parents=True, exist_ok=True)
    built = []
    for file in files(folder, "overlays/*/kustomization.yaml", "deployer/kustomization.yaml"):
        try:
            text = run("kubectl", "kustomize", file.parent, folder=folder)
        except Failed as failed:
            if "must be a file" not in str(failed):
                raise
            text = run("kubectl", "kustomize", _with_bases(folder, file.parent, out), folder=folder)
        path = out / f"{file.parent.name}.yaml"
        path.write_text(text, encoding="utf-8")
        built.append(path)
    return built


def _with_bases(folder: Path, overlay: Path, out: Path) -> Path:
    copy = out / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    file = copy / overlay.relative_to(folder) / "kustomization.yaml"
    text = file.read_text(encoding="utf-8").replace("  - ../../base\n", "")
    file.write_text(text.replace("resources:\n", "bases:\n  - ../../base\nresources:\n"), encoding="utf-8")
    return file.parent


def kubernetes(built: list[Path]) -> str:
    """Each object, by the schemas of the oldest and the newest version of Kubernetes. Unknown fields are errors."""
    for version in (["--kubernetes-version", OLDEST_KUBERNETES], []):
        run("kubernetes-validate", "--strict", "--quiet", *version, *built, folder=built[0].parent)
    return ", ".join(path.stem for path in built)


def alerts(folder: Path) -> str:
    """Prometheus' rules, its configuration, and the tests of each alert."""
    run("promtool", "check", "config", "prometheus.yaml", folder=folder)
    run("promtool", "check", "rules", "alerts.yaml", folder=folder)
    tests = [path.name for path in files(folder, "*.test.yaml")]
    run("promtool", "test", "rules", *tests, folder=folder)
    return ", ".join(["alerts.yaml", *tests])


def dashboard(file: Path, work: Path) -> str:
    """The queries of Grafana's dashboard."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "dashboard.yaml").write_text(as_rules(file), encoding="utf-8")
    run("promtool", "check", "rules", "dashboard.yaml", folder=work)
    return file.name


def nginx(folder: Path) -> str:
    """nginx's own check of its configuration, by the script beside it."""
    for needed in ("nginx", "openssl"):
        program(needed)
    run("sh", "check.sh", folder=folder)
    return "postern.conf"


def yaml(folder: Path) -> str:
    """Every YAML file: indentation, doubled keys, length of lines."""
    found = files(folder, "**/*.yaml", "**/*.yml")
    run("yamllint", "--strict", "--format", "parsable", "--config-data", LINES, *found, folder=folder)
    return f"{len(found)} files"


def shell(folder: Path) -> str:
    """Every script: its syntax, and the findings of shellcheck."""
    found = files(folder, "**/*.sh")
    for path in found:
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        if not re.fullmatch(r"#!/(usr/bin/env |bin/)(ba)?sh", first):
            raise Failed(f"{path} begins with {first!r}: write #!/bin/sh or #!/usr/bin/env bash")
        run("bash" if "bash" in first else "sh", "-n", path, folder=folder)
    run("shellcheck", *found, folder=folder)
    return ", ".join(path.name for path in found)


def bicep(folder: Path) -> str:
    """The syntax of Bicep, by tree-sitter. Types, names and external modules are not checked."""
    found = files(folder, "**/*.bicep", "**/*.bicepparam")
    run("python", HERE / "bicep_syntax.py", *found, folder=folder)
    return f"{len(found)} files"


def openapi(*documents: Path) -> str:
    """OpenAPI 3.1 and 2.0, by the specification's own schemas."""
    for path in documents:
        run("openapi-spec-validator", path, folder=path.parent)
    return ", ".join(path.name for path in documents)
