"""`postern call` against a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.cli.workspace import STATE_FOLDER
from postern.local_tenant import LocalTenant
from tests.cli.conftest import Postern
from tests.process.servers import Server, environment, running

pytestmark = pytest.mark.process

WORKFLOWS = """
from typing import Annotated
from pydantic import BaseModel
from postern import Context, Form, Header, Reply, UploadFile, anonymous, specific_users, workflow

@workflow
async def who_am_i(ctx: Context):
    return ctx.caller.name

@workflow(access=anonymous(), methods=["PUT", "POST"])
async def echo(ctx: Context, body):
    return {"method": ctx.request.method, "body": body}

@workflow(access=specific_users("lisa"), path="/{month}")
async def payroll(ctx: Context, month: int):
    return {"month": month, "by": ctx.caller.name}

@workflow(access=anonymous())
async def text(ctx: Context):
    return Reply(200, b"plain \\xff", {"Content-Type": "text/plain"})

async def half(text):
    return text[: len(text) // 2]

@workflow(durable=True)
async def long(ctx: Context, body: str):
    await ctx.sleep(0.01)
    return {"half": await ctx.step(half, body), "by": ctx.caller.name}

class Sheet(BaseModel):
    title: str
    photo: UploadFile

@workflow(access=anonymous())
async def sheet(ctx: Context, sheet: Annotated[Sheet, Form()], x_shop: Annotated[str, Header()] = ""):
    return {"title": sheet.title, "file": [sheet.photo.filename, sheet.photo.size], "shop": x_shop}

@workflow
async def fails(ctx: Context):
    key = ctx.secret("key")
    return len(key)

@workflow(access=anonymous())
async def untrue(ctx: Context):
    return Reply(200, b"{", {"Content-Type": "application/json"})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("call")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "echoes.py").write_text(WORKFLOWS, encoding="utf-8")
    with running("dev", folder, {"POSTERN_PORT": "0"}) as started:
        yield started


@pytest.fixture
def call(postern: Postern, server: Server, monkeypatch: pytest.MonkeyPatch) -> Postern:
    """The command, in the folder of the server: `call NAME …`."""
    monkeypatch.chdir(server.folder)
    return lambda *arguments, **more: postern("call", *arguments, **more)


def test_the_body_goes_to_standard_output_and_the_status_to_standard_error(call: Postern):
    result = call("echo", "--data", '{"a": "é"}')
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"method": "PUT", "body": {"a": "é"}}
    assert result.stderr.startswith("200 OK  run ")


def test_a_token_of_the_local_tenant_is_sent(call: Postern):
    result = call("payroll/7", "--as", "lisa")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"month": 7, "by": "Lisa Moreau"})


def test_a_refusal_has_exit_code_1_and_says_why(call: Postern):
    for who, sent in ((["--no-token"], "No token was sent"), ([], "The token was ada's"), (["--as", "gil"], "gil's")):
        result = call("payroll/7", *who)
        assert result.exit_code == 1
        assert result.stderr.startswith("401 Unauthorized")
        assert "WWW-Authenticate: Bearer" in result.stderr
        assert json.loads(result.stdout)["code"] == "unauthenticated"
        assert sent in result.stderr
        assert "--as NAME: ada, lisa, gil, " in result.stderr
    assert "is not on the list of this trigger" in result.stderr


def test_a_failed_run_leads_to_the_line_and_the_fix(call: Postern, postern: Postern, server: Server):
    result = call("fails")
    assert (result.exit_code, result.stderr.splitlines()[0].startswith("500 ")) == (1, True)
    said, _, command = result.stderr.splitlines()[-1].partition(": ")
    assert said == "What failed, with the line and the fix"
    shown = postern(*command.split()[-3:])
    line = WORKFLOWS.splitlines().index("    return len(key)") + 1
    assert f'File "{server.folder / "workflows" / "echoes.py"}", line {line}, in fails' in shown.stdout
    assert "fix: write `await` before the call that made the coroutine" in shown.stdout


def test_the_default_person_is_that_of_postern_token(call: Postern):
    assert json.loads(call("who-am-i").stdout) == "Ada Okafor"
    assert call("who-am-i", "--no-token").exit_code == 1
    for more in (["--as", "ada"], ["--token-file", "-"]):
        assert call("who-am-i", "--no-token", *more).exit_code == 2


def test_a_token_comes_from_a_file_or_from_standard_input(call: Postern, server: Server, tmp_path: Path):
    token = LocalTenant.open(server.folder / STATE_FOLDER).token("lisa")
    (tmp_path / "token").write_text(token + "\n", encoding="utf-8")
    assert call("payroll/7", "--token-file", str(tmp_path / "token")).exit_code == 0
    assert call("payroll/7", "--token-file", "-", stdin=token + "\n").exit_code == 0


@pytest.mark.parametrize("content", [b"", b"two words", b"caf\xc3\xa9", b"\xff", None], ids=str)
def test_a_file_without_a_token_is_an_error(call: Postern, tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    result = call("echo", "--token-file", str(tmp_path / "token"))
    assert (result.exit_code, "--token-file" in result.stderr) == (2, True)


def test_only_one_option_may_choose_the_caller(call: Postern):
    assert call("echo", "--as", "ada", "--token-file", "-", stdin="x").exit_code == 2


def test_the_body_comes_from_a_file_or_from_standard_input(call: Postern, tmp_path: Path):
    (tmp_path / "body.json").write_text("[1]", encoding="utf-8")
    assert json.loads(call("echo", "-d", f"@{tmp_path}/body.json").stdout)["body"] == [1]
    assert json.loads(call("echo", "-d", "-", stdin="[2]").stdout)["body"] == [2]
    missing = call("echo", "-d", "@nowhere.json")
    assert (missing.exit_code, "nowhere.json: No such file" in missing.stderr) == (2, True)


def test_a_form_has_fields_files_and_headers(call: Postern, tmp_path: Path):
    (tmp_path / "cat.txt").write_bytes(b"miaow")
    made = call("sheet", "-F", "title=a=b", "-F", f"photo=@{tmp_path}/cat.txt", "-H", "X-Shop: north")
    assert json.loads(made.stdout) == {"title": "a=b", "file": ["cat.txt", 5], "shop": "north"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-F", "title"], "NAME=@FILE"),
        (["-F", "photo=@nowhere.txt"], "nowhere.txt: No such file"),
        (["-F", "a=b", "-d", "1"], "two bodies"),
        (["-H", "Authorization: Bearer x"], "--token-file"),
        (["-H", "nothing"], "NAME: VALUE"),
    ],
)
def test_a_form_or_header_that_cannot_be_sent_is_an_error(call: Postern, options: list[str], says: str):
    result = call("sheet", *options)
    assert (result.exit_code, says in result.stderr) == (2, True)


def test_the_method_is_the_first_of_the_workflow_unless_another_is_named(call: Postern):
    assert json.loads(call("echo", "--method", "POST").stdout)["method"] == "POST"
    assert call("echo", "-X", "GET").exit_code == 1


def test_a_body_that_is_no_json_is_printed_as_it_is(call: Postern):
    assert call("text").stdout_bytes == b"plain \xff"
    assert call("untrue").stdout_bytes == b"{"


def test_an_unknown_workflow_is_a_404(call: Postern):
    result = call("missing")
    assert (result.exit_code, json.loads(result.stdout)["code"]) == (1, "unknown-trigger")


def test_without_a_server_the_error_says_how_to_start_one(postern: Postern, folder: Path):
    result = postern("call", "hello", POSTERN_PORT="1")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1/triggers/hello cannot be reached" in result.stderr
    assert "Is the server running?" in result.stderr


def test_a_pipe_gets_nothing_but_the_body(server: Server):
    """In a process of its own, as a script uses it."""
    command = [sys.executable, "-m", "postern", "call", "echo", "--data", "-"]
    done = subprocess.run(command, cwd=server.folder, env=environment(), input=b"{}", capture_output=True, timeout=20)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"method": "PUT", "body": {}}


def test_a_new_module_answers(call: Postern, postern: Postern, server: Server):
    """What `postern new` writes has a URL at once, and the command that it prints works."""
    assert postern("new", "approve-leave").exit_code == 0
    token = LocalTenant.open(server.folder / STATE_FOLDER).token("ada")
    server.answers("approve-leave", 200, token, json={"name": "Ada"})
    result = call("approve-leave", "--as", "ada", "--data", '{"name": "Ada"}')
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"message": "Hello, Ada!"})


def test_the_result_of_a_durable_run_is_waited_for(call: Postern):
    result = call("long", "--data", '"whole"')
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"half": "wh", "by": "Ada Okafor"})
    assert "Accepted as the run" in result.stderr
    assert "200 OK" in result.stderr


def test_without_waiting_the_202_is_printed(call: Postern, postern: Postern):
    result = call("long", "--data", '"whole"', "--no-wait")
    accepted = json.loads(result.stdout)
    assert (result.exit_code, accepted["state"]) == (0, "Waiting")
    followed = postern("runs", "follow", accepted["id"])
    assert followed.exit_code == 0
    assert "ended, attempt 1" in followed.stdout


def test_any_recorded_workflow_is_called_asynchronously(call: Postern):
    result = call("who-am-i", "--async")
    assert (result.exit_code, json.loads(result.stdout)) == (0, "Ada Okafor")
    assert "Accepted as the run" in result.stderr


def test_a_run_that_succeeded_is_not_resumed(call: Postern, postern: Postern):
    accepted = json.loads(call("long", "--data", '"whole"', "--no-wait").stdout)
    assert postern("runs", "follow", accepted["id"]).exit_code == 0
    refused = postern("runs", "resume", accepted["id"])
    assert refused.exit_code == 1
    assert "The run has succeeded. Resubmit it." in refused.stderr
