"""A project as an author has it, whose tests pytest runs in a process of its own."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import postern

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("POSTERN_", "PYTEST_"))}
ENVIRONMENT |= {"PYTHONPATH": str(Path(postern.__file__ or "").parent.parent)}


@dataclass(frozen=True)
class Outcome:
    """What became of the tests: "passed", or the text of the failure, by name; and what pytest printed."""

    tests: dict[str, str]
    printed: str
    code: int

    @property
    def failed(self) -> dict[str, str]:
        """The failures alone."""
        return {name: text for name, text in self.tests.items() if text != "passed"}


def run_tests(folder: Path, *options: str) -> Outcome:
    """Run pytest in this folder."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *options]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert report.exists(), done.stdout + done.stderr
    tests: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        bad = [*case.iter("failure"), *case.iter("error")]
        name = case.get("name") or ""
        if tests.get(name, "passed") == "passed":
            tests[name] = (bad[0].get("message") or bad[0].text or "failed") if bad else "passed"
    return Outcome(tests, done.stdout + done.stderr, done.returncode)
