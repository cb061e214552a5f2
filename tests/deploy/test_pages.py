"""Every command of the pages that can run here works as it is written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.pages import (
    ELSEWHERE,
    PAGES_ELSEWHERE,
    PREPARED,
    Command,
    PageFailed,
    asks_a_server,
    commands,
    copy_of_copy,
    copy_project,
    pages,
    run_page,
    shared_files,
    tools,
)
from tests.process.servers import ROOT, Server, running
from tests.table import table
from tests.tools import needed

SAMPLE = """
Text, and `$ not-a-command`.

```console
$ echo one   # a comment
one
$ echo two \\
    three
$ az login
```

1. A step:
   ```console
   $ NAME=x echo "$(docker ps)"
   $ kubectl kustomize deploy && postern list
   $ kubectl apply -f x
   ```

```bash
$ not a console
```
"""


def of(page: str) -> list[Command]:
    return commands(page, (ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project to make copies of, which no page changes."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    before = shared_files(copy)
    yield copy
    assert shared_files(copy) == before


@pytest.fixture(scope="module")
def served(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`postern dev` in a copy of the project, for the pages that talk to a server."""
    folder = copy_of_copy(project, tmp_path_factory.mktemp("served") / "project")
    with running("dev", folder, {"POSTERN_PORT": "0", "PYTHONPATH": str(folder)}) as server:
        yield server


@pytest.mark.parametrize("page", [page for page in pages() if any(command.runs for command in of(page))])
@pytest.mark.process
def test_the_commands_of_a_page_work(request: pytest.FixtureRequest, page: str, tmp_path: Path):
    found = of(page)
    prepared = PREPARED.get(page, "")
    for tool in tools(found):
        if tool != "curl":  # there is a stand-in
            needed(tool)
    if asks_a_server(found):
        server: Server = request.getfixturevalue("served")
        ran = run_page(found, server.folder, port=server.port, prepared=prepared)
    else:
        folder = copy_of_copy(request.getfixturevalue("project"), tmp_path / "project")
        ran = run_page(found, folder, prepared=prepared)
    assert ran == [command for command in found if command.runs]


def test_no_command_of_a_page_is_left_out():
    """Each one is run here, or elsewhere, or says what it needs; none is both."""
    all_of_them = [command for page in pages() for command in of(page)]
    assert len(all_of_them) > 5
    assert [command for command in all_of_them if not (command.runs or command.needs or command.elsewhere)] == []


def test_commands_are_found_with_the_lines_that_go_on_and_judged_by_each_of_their_parts():
    found = commands("page.md", SAMPLE)
    assert [(command.line, command.text, command.needs) for command in found] == [
        (5, "echo one   # a comment", ""),
        (7, "echo two \\\nthree", ""),
        (9, "az login", "an Azure subscription"),
        (14, 'NAME=x echo "$(docker ps)"', "a container engine"),
        (15, "kubectl kustomize deploy && postern list", ""),
        (16, "kubectl apply -f x", "a cluster"),
    ]


@table(
    ("text", "needs", "elsewhere"),
    [
        ("sudo systemctl stop postern", "root", ""),
        ("echo x | sudo tee /etc/x", "root", ""),
        ("for n in 1 2; do docker ps; done", "a container engine", ""),
        ("postern call az", "", ""),
        ("echo 'a | az b'", "", ""),
        ("azure-tool", "", ""),
        ("A=1 B=$(postern token) docker run", "a container engine", ""),
        ('A="x y" docker run', "a container engine", ""),
        ("PGPASSWORD=$(az account get-access-token) postern database", "an Azure subscription", ""),
        ("make run        # serves", "", "tests/process/test_dev.py"),
        ("make check", "", ".ci/run"),
        ("make check-deploy", "", ".ci/run"),
        ("promtool test rules x.yaml", "", ".ci/run"),
    ],
)
def test_what_a_command_needs_is_reported(text: str, needs: str, elsewhere: str):
    command = Command("page.md", 1, text)
    assert (command.needs, command.elsewhere) == (needs, elsewhere)
    assert command.runs is (not needs and not elsewhere)


def test_the_tools_of_a_page_are_those_of_the_commands_that_are_run():
    page = "```console\n$ openssl x | nginx -t\n$ az x && promtool y\n$ postern call curl\n```\n"
    assert tools(commands("page.md", page)) == ["nginx", "openssl"]


@pytest.mark.process
def test_a_command_that_fails_fails_the_page_by_its_line(tmp_path: Path):
    (tmp_path / ".venv").mkdir()
    page = "```console\n$ true\n$ az login\n$ echo said; false | cat\n$ touch not-reached\n```\n"
    with pytest.raises(PageFailed, match=r"(?s)page\.md:4 failed with 1.*said"):
        run_page(commands("page.md", page), tmp_path)
    assert not (tmp_path / "not-reached").exists()


@pytest.mark.parametrize("text", ["no-such-command-at-all", 'echo "$UNSET"', "exit 3", "postern no-such-command"])
@pytest.mark.process
def test_what_is_wrong_in_a_page_is_seen(tmp_path: Path, text: str):
    (tmp_path / ".venv").mkdir()
    with pytest.raises(PageFailed, match=r"page\.md:2"):
        run_page(commands("page.md", f"```console\n$ {text}\n```\n"), tmp_path)


@pytest.mark.process
def test_a_command_that_ends_the_shell_early_is_seen(tmp_path: Path):
    """What comes behind it was not run."""
    (tmp_path / ".venv").mkdir()
    found = commands("page.md", "```console\n$ exit 0\n$ echo two\n```\n")
    assert run_page(found, tmp_path) != found


def test_a_page_that_is_prepared_is_there():
    assert [page for page in PREPARED if page not in pages()] == []
    assert [page for page in PAGES_ELSEWHERE if page not in pages()] == []
    places = [*ELSEWHERE.values(), *PAGES_ELSEWHERE.values()]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_a_line_that_is_nearly_a_command_is_an_error():
    with pytest.raises(ValueError, match=r"page\.md:2"):
        commands("page.md", "```console\n$echo\n```\n")


@pytest.mark.parametrize("way", ["azure", "container", "kubernetes", "nginx"])
def test_the_page_of_each_way_says_what_its_operator_has_to_know(way: str):
    page = (ROOT / "deploy" / way / "README.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^## (.*)", page, re.MULTILINE)).lower()
    for subject in ("rights", "rotation", "backup", "upgrade and roll-back", "growth", "cost"):
        assert subject in headings, subject
