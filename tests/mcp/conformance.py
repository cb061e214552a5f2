"""`make mcp-conformance`: the protocol's own conformance tests against a server with tools, by hand.

It needs npm and its registry. The result is `conformance.json` beside this file: each scenario with the number of
checks that passed, and the names of those that failed, and of those that need a named test tool. Names of workflows
have no underscores, so scenarios of such tools alone are left out. Postern has no prompts and no resources, which the
scenario `caching` asks for too.

Source: `@modelcontextprotocol/conformance`, version VERSION.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.process.servers import running

VERSION = "0.2.0-alpha.12"
PACKAGES = (f"@modelcontextprotocol/conformance@{VERSION}", "node@22")
RESULT = Path(__file__).with_name("conformance.json")

SCENARIOS = {
    "2025-11-25": ("server-initialize", "ping", "tools-list", "dns-rebinding-protection"),
    "2026-07-28": (
        "server-stateless",
        "tools-list",
        "http-header-validation",
        "dns-rebinding-protection",
        "caching",
    ),
}
"""What each revision asks of a server that has tools alone, and in its own names."""

WORKFLOWS = '''
from typing import Literal

from pydantic import BaseModel

from postern import Context, Tool, anonymous, workflow


class Line(BaseModel):
    article: str
    number: int = 1
    colour: Literal["red", "blue"] | None = None


class Order(BaseModel):
    lines: list[Line]
    note: str | None = None


@workflow(access=anonymous(), tool=True, path="/orders/{order}", methods=["GET", "PUT"])
async def orders(ctx: Context, given: Order | None = None, order: str = "") -> Order:
    """Read or replace an order."""
    return given or Order(lines=[])


@workflow(access=anonymous(), tool=Tool(title="Say hello", read_only=True))
async def hello(ctx: Context) -> str:
    """Say hello."""
    return "Hello"
'''


def main() -> int:
    """Run all scenarios and write the result. The exit code is 1 if the result is another one than before."""
    before = RESULT.read_text("utf-8") if RESULT.exists() else ""
    with tempfile.TemporaryDirectory() as place:
        programs = Path(place, "programs")
        install = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--prefix",
            str(programs),
            *PACKAGES,
        ]
        subprocess.run(install, check=True)
        folder = Path(place, "installation")
        (folder / "workflows").mkdir(parents=True)
        (folder / "workflows" / "flows.py").write_text(WORKFLOWS, "utf-8")
        with running("serve", folder, {"POSTERN_PORT": "0"}) as server:
            url = f"{server.address}/mcp"
            found = {
                revision: {name: outcome(programs, url, revision, name, Path(place)) for name in names}
                for revision, names in SCENARIOS.items()
            }
    RESULT.write_text(json.dumps({"version": VERSION, "revisions": found}, indent=2) + "\n", "utf-8")
    for revision, scenarios in found.items():
        for name, each in scenarios.items():
            print(f"{revision}  {name:<40} {each['passed']} passed  {', '.join(each['failed'])}")
    return int(RESULT.read_text("utf-8") != before)


def outcome(programs: Path, url: str, revision: str, scenario: str, place: Path) -> dict[str, Any]:
    """The checks of one scenario: how many passed, and the names of the others."""
    binaries = programs / "node_modules" / ".bin"
    output = place / "out" / revision / scenario
    command = [str(binaries / "conformance"), "server", "--url", url, "--scenario", scenario]
    command += ["--spec-version", revision, "--output-dir", str(output)]
    environ = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False, timeout=120)
    checks = [*_checks(output)]
    if not checks:
        sys.exit(f"{scenario} of {revision} made no checks: is the program installed, and {url} served?")
    passed = [each for each in checks if each["status"] == "SUCCESS"]
    rest = [each for each in checks if each["status"] in ("FAILURE", "WARNING")]
    untested = {each["id"] for each in rest if str(each.get("errorMessage")).startswith("Not testable")}
    failed = {each["id"] for each in rest} - untested
    return {"passed": len(passed), "failed": sorted(failed), "need_a_test_tool": sorted(untested)}


def _checks(output: Path) -> Iterator[dict[str, Any]]:
    for path in output.glob("**/checks.json"):
        yield from json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
