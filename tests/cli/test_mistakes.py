"""What a new author reads after each typical mistake: the file, the line and the fix, by `postern check`, in the
terminal of `postern dev` and on the run's record.

In a source, the line that has to be named ends with `# <-`.
"""

import gc
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from httpx2 import ASGITransport
from structlog.testing import capture_logs
from typer.testing import CliRunner

from postern.assembly import create_app
from postern.cli.commands import app as commands
from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from postern.server.request_lines import RequestLines
from tests.pipeline.pipelines import settings_for

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

HEAD = "from postern import Context, Problem, Reply, anonymous, specific_users, tenant_users, workflow\n\n\n"
MARK = "# <-"


def simple(access: str = "access=anonymous()", parameters: str = "ctx: Context", returns: str = "dict") -> str:
    """A workflow that is right, but for what is given."""
    return f"{HEAD}@workflow({access})  {MARK}\nasync def NAME({parameters}) -> {returns}:\n    return {{}}\n"


def body(lines: str, *, keyword: str = "async def", before: str = "") -> str:
    """A workflow with these lines as its function's body."""
    inner = "".join(f"    {line}\n" for line in lines.splitlines())
    return f"{HEAD}{before}@workflow(access=anonymous())\n{keyword} NAME(ctx: Context):\n{inner}"


WRAPPED = f"""{HEAD}def timed(function):
    def inner(*args):
        return function(*args)

    return inner


@workflow  {MARK}
@timed
async def NAME(ctx): ...
"""

FAULTS = {
    # the ten typical mistakes, as far as they are seen before a run
    "syntax": (body(f'return {{"a": 1  {MARK}'), "Close the bracket that opens in this line."),
    "colon": (f"{HEAD}@workflow\nasync def NAME(ctx: Context)  {MARK}\n    return 1\n", "Write a colon at the end"),
    "tabs": (f"{HEAD}@workflow\ndef NAME(ctx):\n    x = 1\n\treturn x  {MARK}\n", "Indent with four spaces a level"),
    "indentation": (f"{HEAD}@workflow\ndef NAME(ctx):\nreturn 1  {MARK}\n", "Indent the lines that belong to it"),
    "annotation-undefined": (
        f"{HEAD}@workflow\nasync def NAME(ctx: Context, order: Order):  {MARK}\n    return order\n",
        "Define `Order` above this line, or import it",
    ),
    "annotation-class": (
        f"{HEAD}class Order:\n    pass\n\n\n" + simple(parameters="ctx: Context, order: Order")[len(HEAD) :],
        "write `class Order(BaseModel)`",
    ),
    "annotation-list": (simple(parameters="ctx: Context, body: [int]"), "write list[int]"),
    "annotation-any": (simple(parameters="ctx: Context, body: any"), "write Any, which is imported from typing"),
    "annotation-value": (simple(parameters="ctx: Context, body: 3"), "write the type, such as int"),
    "annotation-text": (simple(parameters='ctx: Context, body: "the name"'), "Write a type, and a text about it"),
    "await-in-def": (
        body(f'return await ctx.call("x")  {MARK}', keyword="def"),
        "Write `async def` in place of `def` for the function around this line.",
    ),
    "await-at-the-top": (f"{HEAD}x = await y()  {MARK}\n", "Move it into the workflow's function."),
    "import-missing": (f"import not_installed  {MARK}\n", "Install 'not_installed' where the server runs"),
    "import-misspelt": (f"from postern import anonymus  {MARK}\n", "Write `anonymous` in place of `anonymus`."),
    "import-unknown": (f"from postern import schedule_it  {MARK}\n", "`from postern import ...` has CallError"),
    "import-as-script": (f"import _shared  {MARK}\n", "Write `from workflows._shared import ...`"),
    "import-of-shared": (f"from ._shared import rate  {MARK}\n", "Write `rates` in place of `rate`."),
    "import-forgotten": (f"@workflow  {MARK}\ndef NAME(ctx): ...\n", "Write `from postern import workflow` at the top"),
    "clash": (simple('access=anonymous(), name="twin"'), 'Rename one of the two functions, or set another name="..."'),
    "clash-too": (
        simple('access=anonymous(), name="twin"'),
        'Rename one of the two functions, or set another name="..."',
    ),
    "clash-in-file": (
        simple().replace(MARK, "") + simple()[len(HEAD) :],
        "Rename one of the two functions.",
    ),
    "person": (simple('access=specific_users("lissa")'), "Write 'lisa', or add a line lissa = "),
    "person-unlike": (simple('access=specific_users("zoe")'), 'Add a line zoe = "<object id>" to [people]'),
    "person-list": (simple('access=specific_users(["lisa"])'), "write specific_users('lisa')"),
    "person-mail": (simple('access=specific_users("a@b.example")'), "Add the object id to [people]"),
    "person-id": (
        simple('access=specific_users("c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d")'),
        "An object id has 32 hexadecimal digits",
    ),
    "path-name": (simple('path="/rooms/{room}"', "ctx: Context, body: dict, rom: int"), "rename it to 'room'"),
    "path-only": (simple('path="/rooms/{room}"', "ctx: Context, rom: int"), "rename it to 'room'"),
    "path-order": (
        simple('path="/rooms/{room}"', "ctx: Context, room: int, order: dict"),
        "the body is the second parameter",
    ),
    "second-body": (
        simple("", "ctx: Context, order: dict, more: list[str]"),
        "a request has one body, and 'order' takes it: write one model",
    ),
    "second-value": (
        simple("", "ctx: Context, order: dict, page: int"),
        'write path="/{page}", `Annotated[..., Query()]`',
    ),
    "path-slash": (simple('path="rooms"'), "a relative path begins with a slash"),
    "path-converter": (simple('path="/{room:int}"', "ctx: Context, room: int"), "Write {room}, and its type in the"),
    "path-angles": (simple('path="/<room>"', "ctx: Context, room: int"), "Write {room}, and its type in the"),
    # their brothers
    "access-called": (simple("access=anonymous"), "call it: write access=anonymous()"),
    "access-text": (simple('access="specific_users"'), 'call it: write access=specific_users("lisa")'),
    "access-list": (simple('access=["lisa"]'), "write access=specific_users('lisa')"),
    "access-position": (simple("anonymous()"), "write @workflow(access=anonymous(...))"),
    "access-names": (simple('access=tenant_users("lisa")'), 'by `specific_users("lisa")`'),
    "access-above": (f"{HEAD}@anonymous()  {MARK}\n@workflow\nasync def NAME(ctx): ...\n", "as its only decorator"),
    "option": (simple("acess=anonymous()"), "Write `access=` in place of `acess=`."),
    "option-unknown": (simple("colour=1"), "The options of workflow() are access, name, methods"),
    "methods": (simple('methods=["get"]'), "Write methods=['GET']"),
    "name": (simple('name="My Flow"'), 'set name="my-flow"'),
    "name-letters": (simple().replace("NAME", "bookRoom"), 'set name="book-room"'),
    "name-hyphen": (f"{HEAD}def book-room(ctx): ...  {MARK}\n", "Give the function a name of letters"),
    "parameters": (simple(parameters="body: dict, ctx: Context"), "write `ctx: Context` before 'body'"),
    "parameters-default": (
        f"{HEAD}@workflow\ndef NAME(ctx, body=1, room): ...  {MARK}\n",
        "Write `*,` before this parameter",
    ),
    "context": (simple(parameters=""), "make its first parameter `ctx: Context`"),
    "not-exported": (
        f"{HEAD}async def NAME(ctx: Context):  {MARK}\n    return 1\n",
        "Write @workflow(access=...) above",
    ),
    "inside": (
        f"{HEAD}def make():\n    @workflow  {MARK}\n    def inner(ctx): ...\n    return inner\n",
        "Move the function to the top level of the file",
    ),
    "method": (f"{HEAD}class A:\n    @workflow  {MARK}\n    def a(self, ctx: Context): ...\n", "outside of the class"),
    "wrapped": (WRAPPED, "functools.wraps"),
    "exit": (f"import sys\nsys.exit(1)  {MARK}\n", "Do not end the process on import"),
}
"""A source that cannot be served, and how to fix it."""

ADVICE = {
    "forgotten-access": (simple("timeout=5"), "NAME() has no access=", "Write access=tenant_users() if that is meant"),
    "no-parentheses": (simple().replace("(access=anonymous())", ""), "NAME() has no access=", "access=anonymous()"),
    "call-not-awaited": (
        body(f'ctx.call("hello")  {MARK}\nreturn 1'),
        "ctx.call() is not awaited, so it does nothing.",
        "Write `await` before it.",
    ),
    "step-in-def": (
        body(f"ctx.step(print)  {MARK}\nreturn 1", keyword="def"),
        "ctx.step() is not awaited, so it does nothing.",
        "Write `await` before it, and `async def` in place of `def`.",
    ),
    "request-not-awaited": (
        body(f'client = ctx.connection("graph")\nreturn client.get("/x").json()  {MARK}'),
        "The request get() is not awaited, so it does nothing.",
        "Write `await` before it.",
    ),
    "own-not-awaited": (
        body(f"tell()  {MARK}\nreturn 1", before="async def tell(): ...\n\n\n"),
        "tell() is not awaited, so it does nothing.",
        "Write `await` before it.",
    ),
    "blocks": (
        body(f"time.sleep(1)  {MARK}\nreturn 1", before="import time\n\n\n"),
        "time.sleep() holds all other requests while it waits.",
        "Write `await asyncio.sleep(...)`.",
    ),
    "secret-printed": (
        body(f'key = await ctx.secret("signing")\nprint(f"key {{key}}")  {MARK}\nreturn 1'),
        "A secret is printed or logged here.",
        "Leave it out",
    ),
}
"""A source that is served and most probably does something else than its author meant: the cause and the fix."""

RESULT = "It is the result of NAME() at FILE:4"
FAILS = {
    "await-missing": (
        body("return {'a': later()}", before="async def later(): ...\n\n\n"),
        7,
        "write `await` before the",
    ),
    "await-missing-length": (
        body(f'key = ctx.secret("x")\nreturn len(key)  {MARK}'),
        None,
        "write `await` before the call",
    ),
    "await-missing-in-def": (
        body(f'r = ctx.connection("graph").get("/")\nreturn r.json()  {MARK}', keyword="def"),
        None,
        "and `async def` in place of `def` for NAME() at FILE:4",
    ),
    "await-of-no-coroutine": (body(f"return await len('x')  {MARK}"), None, "leave out `await`"),
    "asyncio-run": (
        body(f"asyncio.run(asyncio.sleep(0))  {MARK}", before="import asyncio\n\n\n"),
        None,
        "write `await ...` in place of `asyncio.run(...)`",
    ),
    "context-body": (body(f"return ctx.body  {MARK}"), None, "the body is the second parameter"),
    "context-headers": (body(f"return ctx.headers  {MARK}"), None, "write `ctx.request.headers`"),
    "result-object": (body("return {'a': object()}"), 4, "return what JSON can hold"),
    "result-problem": (body("return Problem(404)"), 4, "write `raise Problem(...)`"),
    "result-client": (body("return ctx.connection('graph')"), 4, "write `await ctx.connection(...).get(...)`"),
    "result-function": (body("return len"), 4, "call the function, and return its result"),
    "result-bytes": (body("return b'\\xff'"), 4, "return bytes as `Reply(200, data"),
    "result-circle": (body("x = []\nx.append(x)\nreturn x"), 4, "return a value that does not contain itself"),
    "result-mismatch": (
        body("return {'a': 'text'}").replace("Context):", "Context) -> dict[str, int]:"),
        4,
        "return what the return annotation says, or change the annotation",
    ),
    "problem-text": (body(f'raise Problem("taken")  {MARK}'), None, "begins with its status, not with a str"),
    "reply-body": (body(f'return Reply({{"a": 1}})  {MARK}'), None, "begins with its status, not with a dict"),
}
"""A source whose run fails: the line that is named, if it is not the marked one, and the fix."""


GRAPH = {"base_url": "https://graph.example", "auth": {"type": "none"}}


def function_of(name: str) -> str:
    return name.replace("-", "_")


def source_of(name: str, text: str) -> str:
    return text.replace("NAME", function_of(name))


def marked(text: str) -> int:
    (line,) = [number for number, each in enumerate(text.splitlines(), 1) if each.endswith(MARK)]
    return line


@pytest.fixture(scope="module")
def checked(state: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """The folder, and what one `postern check` prints of all these files, and its exit code."""
    folder = tmp_path_factory.mktemp("mistakes")
    shutil.copytree(state, folder / "var" / "local-tenant")
    (folder / "workflows").mkdir()
    (folder / "workflows" / "_shared.py").write_text("rates = 1\n", "utf-8")
    for name, (text, *_) in {**FAULTS, **ADVICE}.items():
        (folder / "workflows" / f"{function_of(name)}.py").write_text(source_of(name, text), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("POSTERN_")]:
            patch.delenv(name)
        patch.chdir(folder)
        with capture_logs():
            result = CliRunner().invoke(commands, ["check"])
    return folder / "workflows", result.stderr, result.exit_code


def said_of(said: str, file: Path) -> str:
    """What is said of one file, in one line."""
    parts = said.split(str(file))
    assert len(parts) == 2, said
    before, after = parts
    return " ".join(
        (before.splitlines()[-1] + after.split("\nfault ")[0].split("\nwarning ")[0].split("\nnote ")[0]).split()
    )


@pytest.mark.parametrize("name", FAULTS)
def test_check_names_file_line_and_fix(checked: tuple[Path, str, int], name: str):
    folder, said, code = checked
    text, fix = FAULTS[name]
    own = said_of(said.replace(f"in {folder}", "in the folder"), folder / f"{function_of(name)}.py")
    assert own.startswith(f"fault :{marked(text)} ")
    assert fix in own
    assert code == 1


@pytest.mark.parametrize("name", ADVICE)
def test_check_points_at_what_was_probably_forgotten(checked: tuple[Path, str, int], name: str):
    folder, said, _ = checked
    text, cause, fix = ADVICE[name]
    own = said_of(said, folder / f"{function_of(name)}.py")
    label = "note" if "access" in cause else "warning"
    assert own.startswith(f"{label} :{marked(text)} {cause.replace('NAME', function_of(name))}")
    assert f"fix: {fix}" in own or fix in own


class Seen(NamedTuple):
    """What a caller, the author at the terminal and an operator see of a request."""

    reply: Any
    line: dict[str, Any]
    record: dict[str, Any]


@dataclass
class Played:
    folder: Path
    seen: dict[str, Seen]
    refused: dict[str, Any]


@pytest.fixture(scope="module")
async def played(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Played]:
    """Each workflow of FAILS is called once, as in `postern dev`; and one that requires a token, without one."""
    folder = tmp_path_factory.mktemp("fails")
    for name, (text, *_) in FAILS.items():
        (folder / f"{function_of(name)}.py").write_text(source_of(name, text), "utf-8")
    (folder / "closed.py").write_text(source_of("closed", simple("")), "utf-8")
    settings = settings_for(local_tenant, folder, operators=[local_tenant.people["ada"]], connections={"graph": GRAPH})
    app = create_app(settings, local_tokens=lambda _: "")
    lines: Any = RequestLines(app, structlog.get_logger("test"), lambda: app.catalog.snapshot.triggers)
    operator = {"Authorization": f"Bearer {local_tenant.token('ada')}"}
    seen: dict[str, Seen] = {}
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://127.0.0.1", transport=ASGITransport(lines)) as client,
    ):
        for name in FAILS:
            with capture_logs() as logs:
                reply = await client.post(f"/triggers/{name}")
            (line,) = [each for each in logs if each["event"] == "workflow-failed"]
            record = await client.get(f"/runs/{reply.headers['x-run-id']}", headers=operator)
            seen[name] = Seen(reply.json(), {**line}, record.json())
            reply = record = line = logs = None  # type: ignore[assignment]
            gc.collect()  # coroutines that nothing awaited are for this module to hear of
        with capture_logs() as logs:
            await client.post("/triggers/closed")
        (refused,) = [each for each in logs if each["event"] == "request"]
        yield Played(folder, seen, {**refused})


@pytest.mark.anyio
@pytest.mark.process
@pytest.mark.parametrize("name", FAILS)
async def test_a_run_that_fails_names_file_line_and_fix(played: Played, name: str):
    """In the terminal, and on the record for operators. The caller gets the fixed text only."""
    seen = played.seen[name]
    text, line, fix = FAILS[name]
    file = played.folder / f"{function_of(name)}.py"
    wanted = fix.replace("NAME", function_of(name)).replace("FILE", str(file))
    for trace in (seen.line["exception"], seen.record["error"]["traceback"]):
        assert wanted in trace
        assert f'File "{file}", line {marked(text)}' in trace if line is None else f"{file}:{line}" in trace
    assert seen.reply["detail"] == "The workflow ended with an error."
    assert seen.reply.keys() == {"type", "title", "status", "code", "detail", "request_id", "run_id"}


@pytest.mark.anyio
@pytest.mark.process
async def test_a_request_without_a_token_names_the_line_that_asks_for_one(played: Played):
    assert played.refused["status"] == 401
    assert played.refused["access"] == "tenant_users"
    assert played.refused["at"] == f"{played.folder / 'closed.py'}:4"
    assert "write access=anonymous()" in played.refused["fix"]
