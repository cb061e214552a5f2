"""The commands of the project's pages, and running them as a reader would.

A command is a line of a fenced `console` block that begins with `$ `, with the lines that a backslash at its end adds.
The commands of a page are run in their order, by one shell, in a copy of the project. Two kinds are left out: commands
that need something that tests do not have (NEEDS), and commands that other tests run (ELSEWHERE, PAGES_ELSEWHERE).

If a command uses a variable or file of an earlier command that is left out, add it to PREPARED.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.process.preloaded import ROOT, environment, program

SECONDS = 90
"""The time limit for the commands of one page, enough for a busy machine."""

NEEDS: Mapping[str, str] = {
    r"az|azd": "an Azure subscription",
    r"docker|podman": "a container engine",
    r"kubectl(?! kustomize)": "a cluster",
    r"helm|kind": "a cluster",
    r"cyclonedx-py": "a program of another project",
    r"pip-audit": "the list of published flaws, which changes by the day",
    r"curl .*(\$POSTERN_PUBLIC_URL|https://\$NAME).*": "a server of the reader's",
    r"curl .*https://login\.microsoftonline\.com.*": "an application of the reader's in Entra",
    r"pac|paconn": "an environment of Power Platform",
    r"systemctl|journalctl|systemd-run": "systemd",
    r"sudo|apt|apt-get|useradd|groupadd": "root",
    r"psql|createdb|pg_basebackup|dbos": "a PostgreSQL server of the reader's",
    r"ssh|scp|rsync": "another machine",
    r"certbot": "a public name",
    r"postern gateway (run|check)": "an application of the reader's in Entra",
    r"git clone": "the place where the project is kept",
}
"""Patterns for the beginning of commands that tests cannot run, and what those need. A command line is left out if one
of its commands matches."""

TOOLS = ("curl", "git", "nginx", "openssl", "promtool")
"""Programs of other projects that the tested commands use. `tests.tools.needed` says what happens if one is missing."""

USED_BY: Mapping[str, Sequence[str]] = {
    "sh deploy/nginx/check.sh": ("nginx", "openssl"),
}
"""The project's own scripts, with the TOOLS that they use."""

ELSEWHERE: Mapping[str, str] = {
    r"make run": "tests/process/test_dev.py",
    r"make (setup|check|check-deploy|test|bench|lock)": ".ci/run",
    r"\.venv-deploy/bin/python": ".ci/run",
    r"kubectl kustomize": ".ci/run",  # it builds each overlay, also with a kubectl that is too old for them
    r"promtool test rules": ".ci/run",  # it takes seconds
}
"""Patterns for commands that other tests run, and the file of those tests."""

PAGES_ELSEWHERE: Mapping[str, str] = {
    "README.md": "tests/process/test_dev.py",  # it also compares what the commands print with what the page shows
}
"""Pages whose commands another test runs, all of them, and the file of that test."""

SAYS_NO: Mapping[str, int] = {
    r'postern explain "\$\(postern token ': 1,
}
"""Patterns for commands that end with another exit code than 0 as the page intends, and that code."""

SHARED = ("app", "tests")
"""The folders that no command of a page changes."""

PREPARED: Mapping[str, str] = {
    "app/postern/openapi/README.md": """
        TOKEN=$(postern token --as lisa)
    """,
    "deploy/power-platform/README.md": """
        echo '[people]' > postern.toml
        echo 'lisa = "00000000-0000-4000-8000-00000000000a"' >> postern.toml
        echo 'postern = "00000000-0000-4000-8000-00000000000b"' >> postern.toml
    """,
    "deploy/database/README.md": """
        export POSTERN_DATABASE_URL=sqlite:///var/postern.db
        mkdir -p backups && BACKUPS=$PWD/backups
        postern database upgrade
    """,
}
"""Shell commands that make what the reader of a page has before its first command: variables, files, settings."""

_ASKS_A_SERVER = re.compile(r"(127\.0\.0\.1|localhost):8080|postern (call|runs|refusals|explain)\b")
_PORT = re.compile(r"(?<=127\.0\.0\.1:)8080\b|(?<=localhost:)8080\b")
_FENCE = re.compile(r"\s*```(\w*)\s*")
_BEGINNING = re.compile(r"^|\$\(|[|;&()\n]|\b(?:do|then|else|exec|time|env|xargs)\s")
_ASSIGNED = re.compile(r"\s*(?:\w+=(?:\"[^\"]*\"|[^\s$(]*)\s+)*")


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, with the number of its first line."""

    page: str
    line: int
    text: str

    @property
    def needs(self) -> str:
        """What it needs that tests do not have, or ""."""
        return _found(NEEDS, self.text)

    @property
    def elsewhere(self) -> str:
        """The other test that runs it, or ""."""
        return PAGES_ELSEWHERE.get(self.page) or _found(ELSEWHERE, self.text)

    @property
    def runs(self) -> bool:
        """Whether the test of pages runs it."""
        return not self.needs and not self.elsewhere


class PageFailed(AssertionError):
    """A command of a page failed."""


def pages(root: Path = ROOT) -> list[str]:
    """All pages, as paths relative to the root: those in the root, in app/ and in deploy/."""
    found = [*root.glob("*.md"), *root.glob("app/**/*.md"), *root.glob("deploy/**/*.md")]
    return sorted(str(page.relative_to(root)) for page in found)


def commands(page: str, text: str) -> list[Command]:
    """The commands of a page, in their order. Raises ValueError if a line begins with a dollar but not with `$ `."""
    found: list[Command] = []
    kind = ""
    open_line = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if fence:
            kind = "" if kind else fence[1] or "text"
            open_line = False
        elif kind == "console":
            if open_line:
                last = found.pop()
                found.append(Command(page, last.line, f"{last.text}\n{line.strip()}"))
            elif line.strip().startswith("$ "):
                found.append(Command(page, number, line.strip()[2:]))
            elif line.strip().startswith("$"):
                raise ValueError(f"{page}:{number}: a command begins with a dollar and a space")
            else:
                continue
            open_line = line.endswith("\\")
    return found


def asks_a_server(found: Sequence[Command]) -> bool:
    """Whether any of the commands to run sends requests to a server on this machine."""
    return any(_ASKS_A_SERVER.search(command.text) for command in found if command.runs)


def tools(found: Sequence[Command]) -> list[str]:
    """The TOOLS that the commands to run use."""
    text = "\n".join(command.text for command in found if command.runs)
    inside = [tool for script, used in USED_BY.items() if script in text for tool in used]
    return [tool for tool in TOOLS if tool in inside or _found({tool: tool}, text)]


def copy_project(folder: Path, root: Path = ROOT) -> Path:
    """Copy the project into the folder: the files of a clean checkout with present changes, and a `.venv` of links."""
    listing = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source = root / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for path in [*Path(sys.prefix).iterdir(), *Path(sys.prefix, "bin").iterdir()]:
        if path.name not in ("bin", "postern"):  # it is another one here, see `program`
            (folder / ".venv" / path.relative_to(sys.prefix)).symlink_to(path)
    (folder / "var").mkdir(exist_ok=True)
    (folder / ".tools").mkdir()
    if shutil.which("curl") is None:
        shim = folder / ".tools" / "curl"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {root}/tests/process/curl.py "$@"\n', encoding="utf-8")
        shim.chmod(0o755)
    return folder


def copy_of_copy(project: Path, folder: Path) -> Path:
    """Copy what `copy_project` has made, with links to its SHARED folders, which have most of the files."""
    folder.mkdir()
    for path in project.iterdir():
        target = folder / path.name
        if path.name in SHARED:
            target.symlink_to(path)
        elif path.is_dir():
            shutil.copytree(path, target, symlinks=True)
        else:
            shutil.copy2(path, target)
    return folder


def shared_files(project: Path) -> dict[str, tuple[int, int]]:
    """The size and the time of each file of the SHARED folders of a copy. Python may compile them."""
    files = [path for name in SHARED for path in (project / name).rglob("*") if path.is_file()]
    sources = [path for path in files if path.suffix != ".pyc"]
    return {str(path.relative_to(project)): (path.stat().st_size, path.stat().st_mtime_ns) for path in sources}


def run_page(found: Sequence[Command], folder: Path, *, port: int = 8080, prepared: str = "") -> list[Command]:
    """Run the commands of a page in this copy of the project, except those to leave out. Returns the commands that were
    run. Raises PageFailed, with the line of the first that failed and the output."""
    wanted = [command for command in found if command.runs]
    ran = folder / ".ran"
    script = ["set -euo pipefail", prepared]
    for number, command in enumerate(wanted):
        expected = next((code for pattern, code in SAYS_NO.items() if re.match(pattern, command.text)), 0)
        text = f"code=0; {{ {command.text}\n}} || code=$?; [ $code = {expected} ]" if expected else command.text
        script += [f"echo {number} >> '{ran}'", text]
    ran.write_text("")
    output, code = _bash(_PORT.sub(str(port), "\n".join(script)), folder)
    begun = len(ran.read_text().splitlines())
    if code != 0:
        place = f"{wanted[begun - 1].page}:{wanted[begun - 1].line}" if begun else "what is prepared"
        text = wanted[begun - 1].text if begun else prepared
        raise PageFailed(f"{place} failed with {code}:\n$ {text}\n{output[-3000:]}")
    return wanted[:begun]


def _bash(script: str, folder: Path) -> tuple[str, int]:
    """Run the script. Returns its output and exit code. After a timeout all its processes are killed."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(exist_ok=True)
    path = os.pathsep.join([str(programs), str(folder / ".tools"), os.environ["PATH"]])
    env = environment({"PYTHONPATH": str(folder), "PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8"})
    passed = [program(programs / "postern")]
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        pass_fds=passed,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"{output}\nnot within {SECONDS} s", 124
    return output, process.returncode


def _found(table: Mapping[str, str], text: str) -> str:
    """The value of the first row whose pattern matches the beginning of any part of the command, or ""."""
    plain = re.sub(r"'[^']*'", "''", text.replace("\\\n", " "))
    begins = [_ASSIGNED.sub("", plain[match.end() :], count=1) for match in _BEGINNING.finditer(plain)]
    for pattern, value in table.items():
        if any(re.match(rf"(?:{pattern})(?![\w./=-])", part) for part in begins):
            return value
    return ""
