"""`postern new test` and `postern test`."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postern.cli import testing
from postern.testing.session import SESSION
from tests.cli.conftest import Postern
from tests.cli.test_catalog import EXAMPLES
from tests.modules import no_modules_left


def functions_of(path: Path) -> list[Callable[[], None]]:
    """The test functions of a module."""
    return [each for name, each in runpy.run_path(str(path)).items() if name.startswith("test_")]


SIGNED = """
from postern import Context, anonymous, github, workflow

@workflow(access=anonymous(signed_by=github("hook-secret")))
async def hook(ctx: Context) -> None:
    pass
"""


@pytest.mark.process
def test_the_first_test_of_each_example_passes(postern: Postern, folder: Path):
    """They are run here, one after the other: a process for them would start the application again."""
    ran = 0
    with no_modules_left():
        for name in EXAMPLES:
            result = postern("new", "test", name)
            assert result.exit_code == 0, result.stderr
            path = folder / "tests" / f"test_{name.replace('-', '_')}.py"
            assert f"Wrote {path.relative_to(folder)}" in result.stdout
            for test in functions_of(path):
                test()
                SESSION.finish()
                SESSION.check()
                ran += 1
        SESSION.close()
    assert ran == 2 * len(EXAMPLES) - 2  # anyone may call two of them, so nobody is refused


def test_a_first_test_has_the_body_of_the_workflow_and_who_may_not_call_it(postern: Postern, folder: Path):
    postern("new", "test", "book-room")
    assert (
        (folder / "tests" / "test_book_room.py").read_text("utf-8")
        == '''"""Tests of the workflow book-room."""

from postern.testing import app, call, user


def test_book_room():
    body = {"start": "2026-03-01T09:00:00Z", "minutes": 15}
    result = call("book-room", path="/rooms/1", as_=user("ada"), json=body)
    assert result.status < 300, result.text


def test_book_room_refuses_others():
    assert call("book-room", path="/rooms/1", as_=app("postern")).refused == "people-only"
'''
    )


def test_what_a_workflow_reaches_is_stubbed(postern: Postern, folder: Path):
    postern("new", "test", "find-people")
    text = (folder / "tests" / "test_find_people.py").read_text("utf-8")
    assert 'connections["graph"].fails(503)' in text
    assert 'connections["graph"].get("/PATH").replies({...})' in text


def test_nothing_is_overwritten(postern: Postern, folder: Path):
    (folder / "tests").mkdir()
    (folder / "tests" / "test_hello.py").write_text("mine", "utf-8")
    result = postern("new", "test", "hello")
    assert result.exit_code == 1
    assert "tests/test_hello.py already exists; not overwritten." in result.stderr
    assert (folder / "tests" / "test_hello.py").read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("test", "nope"), "There is no workflow 'nope'. Workflows: book-desk"),
        (("tests", "hello"), "postern new takes one name. To write a first test:"),
    ],
)
def test_a_wrong_name_is_said(postern: Postern, arguments: tuple[str, str], text: str):
    result = postern("new", *arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


def test_a_workflow_called_test_can_still_be_written(postern: Postern, folder: Path):
    assert postern("new", "test").exit_code == 0
    assert (folder / "workflows" / "test.py").exists()


def test_a_workflow_whose_sender_signs_has_no_first_test(postern: Postern, folder: Path):
    (folder / "workflows" / "hook.py").write_text(SIGNED, "utf-8")
    result = postern("new", "test", "hook")
    assert result.exit_code == 1
    assert "There is no first test of hook: its requests are signed by their sender" in result.stderr


INPUTS = """
from decimal import Decimal
from typing import Annotated
from pydantic import BaseModel, Field, field_validator
from postern import Context, Form, Header, Query, UploadFile, anonymous, workflow

class Order(BaseModel):
    item: str
    count: int

class Receipt(BaseModel):
    picture: UploadFile

@workflow(access=anonymous())
async def take_form(ctx: Context, order: Annotated[Order, Form()]) -> int:
    return order.count

@workflow(access=anonymous(), methods=["GET"])
async def take_query(ctx: Context, site: Annotated[str, Query()], x_kind: Annotated[str, Header()]) -> str:
    return site + x_kind

@workflow(access=anonymous(), secrets=["badge-key"])
async def take_secret(ctx: Context) -> int:
    return len(await ctx.secret("badge-key"))

@workflow(access=anonymous())
async def take_file(ctx: Context, receipt: Annotated[Receipt, Form()]) -> str:
    return (await receipt.picture.read()).decode()

class Expense(BaseModel):
    amount: Decimal = Field(gt=0)
    receipts: list[UploadFile] = Field(min_length=2, max_length=3)
    logo: UploadFile | None = None

@workflow(access=anonymous())
def take_files(ctx: Context, expense: Annotated[Expense, Form()]) -> int:
    return len(expense.receipts)

class Picky(BaseModel):
    picture: UploadFile

    @field_validator("picture")
    @classmethod
    def is_picture(cls, picture: UploadFile) -> UploadFile:
        if picture.content_type != "image/png":
            raise ValueError("no picture")
        return picture

@workflow(access=anonymous())
async def take_picture(ctx: Context, picky: Annotated[Picky, Form()]) -> None: ...
"""


@pytest.mark.process
def test_a_first_test_sends_forms_files_queries_and_headers(postern: Postern, folder: Path):
    (folder / "workflows" / "inputs.py").write_text(INPUTS, "utf-8")
    with no_modules_left():
        for name, sent in (
            ("take-form", 'form={"item": '),
            ("take-query", 'query={"site": '),
            ("take-secret", 'secrets["badge-key"] = '),
            ("take-file", 'call("take-file", files={"picture": b"text"})'),
            ("take-files", 'files=[("receipts", b"text"), ("receipts", b"text"), ("logo", b"text")]'),
        ):
            assert postern("new", "test", name).exit_code == 0
            path = folder / "tests" / f"test_{name.replace('-', '_')}.py"
            assert sent in path.read_text("utf-8")
            for test in functions_of(path):
                test()
                SESSION.finish()
                SESSION.check()
        SESSION.close()
    result = postern("new", "test", "take-picture")  # its validator accepts no example
    assert (result.exit_code, "files=" in result.stderr) == (1, True)


class Started:
    """What the command starts in place of pytest."""

    commands: list[list[str]]
    code = 0

    def __init__(self, command: list[str]) -> None:
        self.commands.append(command)

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        return self.code


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = type("Fake", (Started,), {"commands": []})
    monkeypatch.setattr("postern.cli.testing.subprocess.Popen", fake)
    return fake


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ((), []),
        (("tests/test_x.py", "-k", "y"), ["tests/test_x.py", "-k", "y"]),
        (("--", "-x", "tests"), ["-x", "tests"]),
    ],
)
def test_paths_and_options_go_to_pytest(postern: Postern, started: Any, arguments: Any, passed: list[str]):
    assert postern("test", *arguments).exit_code == 0
    assert started.commands == [[sys.executable, "-m", "pytest", *passed]]


@pytest.mark.parametrize(("code", "hint"), [(1, False), (5, True)])
def test_the_exit_code_is_that_of_pytest(postern: Postern, started: Any, code: int, hint: bool):
    started.code = code
    result = postern("test")
    assert result.exit_code == code
    assert ("postern new test NAME" in result.stderr) is hint


def test_without_pytest_the_line_to_install_it_is_said(postern: Postern, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(testing, "find_spec", lambda _: None)
    result = postern("test")
    assert result.exit_code == 2
    assert 'pip install "postern-workflows[testing]"' in " ".join(result.stderr.split())


def test_in_a_copy_of_the_sources_the_kit_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(testing, "entry_points", lambda group: [])
    assert testing._plugin() == ["-p", "postern.testing.plugin"]
