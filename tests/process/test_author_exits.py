"""Whatever code of an author does, wherever it runs: one outcome on record, one reply as JSON, and a server that goes
on. The table is everything that code can raise by every place where code of an author runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.process.servers import Server, running

MODULE = '''
import asyncio
from enum import StrEnum
from typing import Any
from pydantic import BaseModel, ConfigDict, field_serializer, field_validator, model_validator
from postern import Context, Problem, Reply, anonymous, workflow


class Mute(Exception):
    """Its text cannot be had."""

    def __str__(self): raise KeyboardInterrupt
    __repr__ = __str__


class Notes(Exception):
    @property
    def __notes__(self): raise SystemExit

    @property
    def __cause__(self): raise SystemExit


class Meta(type):
    @property
    def __name__(cls): raise KeyboardInterrupt


class NoName(Exception, metaclass=Meta):
    @property
    def __class__(self): raise KeyboardInterrupt


class NoProblem(Problem):
    """A problem of which nothing can be read."""

    def __init__(self): Exception.__init__(self)

    @property
    def status(self): raise SystemExit
    code = detail = reason = title = headers = members = status

    def document(self, *ids): raise KeyboardInterrupt


class Late(Problem):
    def document(self, *ids): raise GeneratorExit


class Code(StrEnum):
    BOOKED = "booked"


class Text(str):
    def __str__(self): raise KeyboardInterrupt
    encode = replace = __getitem__ = lower = __str__


class Unwritten(BaseModel):
    x: int = 1

    @field_serializer("x")
    def writes(self, value): raise KeyboardInterrupt


def changed(problem, **values):
    for name, value in values.items():
        setattr(problem, name, value)
    return problem


def cancels_itself():
    asyncio.current_task().cancel()


def raises(error):
    def raises(): raise error()
    return raises


KINDS = {
    "keyboard": raises(KeyboardInterrupt),
    "exit": raises(lambda: SystemExit(3)),
    "generator": raises(GeneratorExit),
    "cancelled": raises(asyncio.CancelledError),
    "stop": raises(StopIteration),
    "stop-async": raises(StopAsyncIteration),
    "base": raises(lambda: BaseException("x")),
    "group": raises(lambda: BaseExceptionGroup("x", [SystemExit(1), Mute()])),
    "memory": raises(MemoryError),
    "mute": raises(Mute),
    "mute-value": raises(type("MuteValue", (Mute, ValueError), {})),
    "notes": raises(Notes),
    "no-name": raises(NoName),
    "no-problem": raises(NoProblem),
    "late-problem": raises(lambda: Late(409, "x")),
    "enum-problem": raises(lambda: Problem(409, "x", code=Code.BOOKED)),
    "text-problem": raises(lambda: changed(Problem(409, "x"), detail=Text("x"), code=Text("y"))),
    "member-problem": raises(lambda: Problem(409, "x", members={"a": Unwritten()})),
    "status-problem": raises(lambda: changed(Problem(409, "x"), status=999_999)),
    "header-problem": raises(lambda: changed(Problem(409, "x"), headers={"A": "b\\r\\nSet-Cookie: c"})),
    "object-problem": raises(lambda: changed(Problem(409, "x"), detail={"a": 1}, code=7)),
    "cancels-itself": cancels_itself,
    "nothing": lambda: None,
}


def act(ctx):
    KINDS[ctx.request.query["kind"]]()


class Does:
    """A value that acts when it is used."""

    def __init__(self, ctx): self.ctx = ctx
    def __repr__(self): act(self.ctx); return "does"
    __str__ = __repr__
    def __await__(self): act(self.ctx); return iter(())


class Name:
    def __init__(self, ctx): self.ctx = ctx
    def __call__(self): return 1
    @property
    def __name__(self): act(self.ctx); return "named"


class Result(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    ctx: Any

    @field_serializer("ctx")
    def writes(self, value): act(value); return 1


class Checked(BaseModel):
    x: int

    @model_validator(mode="before")
    @classmethod
    def reads(cls, value):
        KINDS[value["kind"]]()
        return {"x": 1}


class Sent(BaseModel):
    kind: str

    @field_validator("kind")
    @classmethod
    def reads(cls, value): KINDS[value](); return value


class Bytes(bytes):
    def __len__(self): return 10**6


class Stubborn(asyncio.Future):
    """A future whose `cancel` is the author's."""

    def cancel(self, *message): KINDS[self.kind](); return super().cancel()


public = workflow(access=anonymous(), timeout=10)


@public
async def in_async(ctx: Context):
    act(ctx)

@public
def in_def(ctx: Context):
    act(ctx)

@public
async def in_serializer(ctx: Context):
    return Result(ctx=ctx)

@public
def in_serializer_of_def(ctx: Context):
    return Result(ctx=ctx)

@public
async def in_reply(ctx: Context):
    return Reply(200, [Result(ctx=ctx)])

@public
async def in_result_model(ctx: Context) -> Checked:
    return {"kind": ctx.request.query["kind"]}

@public
def in_result_model_of_def(ctx: Context) -> Checked:
    return {"kind": ctx.request.query["kind"]}

@public
async def in_generator(ctx: Context):
    return (act(ctx) for _ in range(1))

@public
async def in_step(ctx: Context):
    async def step(): act(ctx)
    await ctx.step(step)

@public
async def in_step_of_def(ctx: Context):
    await ctx.step(lambda: act(ctx))

@public
async def in_step_name(ctx: Context):
    await ctx.step(Name(ctx))

@public
async def in_log(ctx: Context):
    ctx.log.info("logged", value=Does(ctx))

@public
def in_log_of_def(ctx: Context):
    ctx.log.info("logged", value=Does(ctx))

@public
async def in_awaitable(ctx: Context):
    await Does(ctx)

@public
def in_awaitable_of_def(ctx: Context):
    return Does(ctx)

@public
async def in_task(ctx: Context):
    async def other(): act(ctx)
    await asyncio.gather(other(), asyncio.sleep(0))

@public
async def in_task_group(ctx: Context):
    async def other(): act(ctx)
    async with asyncio.TaskGroup() as group:
        group.create_task(other())

@public
async def in_task_left_behind(ctx: Context):
    async def other(): act(ctx)
    asyncio.get_running_loop().create_task(other())

@public
async def in_callback(ctx: Context):
    asyncio.get_running_loop().call_soon(act, ctx)
    await asyncio.sleep(0)

@public
async def in_validator(ctx: Context, body: Sent):
    return body.kind

@public
def in_validator_of_def(ctx: Context, body: Sent):
    return body.kind

@workflow(access=anonymous(), timeout=0.05)
async def in_cancel(ctx: Context):
    future = Stubborn()
    future.kind = ctx.request.query["kind"]
    await future
'''

OTHERS = """
import asyncio
from postern import Context, Reply, anonymous, workflow

public = workflow(access=anonymous(), timeout=10)


class Bytes(bytes):
    def __len__(self): return 10**6


@public
async def odd_bytes(ctx: Context):
    return Reply(200, Bytes(b"abc"))

@public
async def odd_status(ctx: Context):
    reply = Reply(200, "x")
    reply.status = 99
    return reply

@public
async def split(ctx: Context, body: str):
    reply = Reply(200, "x")
    reply.headers["Location"] = body
    return reply

@public
async def overwrites(ctx: Context):
    ctx.request.body = ctx.request.path = ctx.request.client_address = object()
    return "fine"

@public
async def cancels_soon(ctx: Context):
    task = asyncio.current_task()
    for wait in range(20):
        asyncio.get_running_loop().call_later(wait / 1000, task.cancel)
    return "fine"

@public
async def stops_the_loop(ctx: Context):
    asyncio.get_running_loop().stop()
    return "fine"

@public
def fine(ctx: Context):
    return "fine"
"""


def table(word: str) -> list[str]:
    """The names in the module: of the kinds, or of the places."""
    if word == "kind":
        return [line.split('"')[1] for line in MODULE.splitlines() if line.startswith('    "') and '": ' in line]
    functions = [line.split("def ")[1].split("(")[0] for line in MODULE.splitlines() if "def in_" in line]
    return [name.replace("_", "-") for name in functions]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("exits")
    (folder / "flows").mkdir()
    (folder / "flows" / "evil.py").write_text(MODULE, encoding="utf-8")
    (folder / "flows" / "others.py").write_text(OTHERS, encoding="utf-8")
    settings = {"POSTERN_WORKFLOWS": "flows", "POSTERN_PORT": "0"}
    with running("serve --workers 1", folder, settings) as server:
        yield server
        server.process.kill()  # a stop would wait for code that was abandoned


@pytest.mark.parametrize("place", table("place"))
def test_whatever_code_of_an_author_does_is_one_outcome_and_one_reply(server: Server, place: str):
    """All kinds at once, so none of them spoils the outcome of another run either."""
    kinds = table("kind")
    with ThreadPoolExecutor(len(kinds)) as callers:
        states = set(callers.map(lambda kind: state(server, place, kind), kinds))
    assert states <= {"Succeeded", "Failed", "TimedOut", ""}
    assert server.post("fine").json() == "fine"
    assert server.client.get("/healthz").status_code == 200


def state(server: Server, place: str, kind: str) -> str:
    """Of the run; "" where there is none."""
    send: dict[str, Any] = {
        "params": {"kind": kind},
        "json": {"kind": kind},
        "headers": {"Idempotency-Key": f"{place}-{kind}"},
    }
    first, again = server.post(place, **send), server.post(place, **send)
    assert "json" in first.headers["content-type"], (kind, first.text)
    first.json()
    assert again.status_code == first.status_code, (kind, again.text)
    run = first.headers.get("x-run-id")
    if run is None:
        assert first.json()["code"] in ("workflow-failed", "workflow-problem", "booked", "7"), (kind, first.text)
        return ""
    record = server.client.get(f"/runs/{run}").json()
    assert (record["status"], again.headers["x-run-id"]) == (first.status_code, run), (kind, record)
    return str(record["state"])


def test_bytes_that_lie_about_their_length_are_sent_as_they_are(server: Server):
    answer = server.post("odd-bytes")
    assert (answer.content, answer.headers["content-length"]) == (b"abc", "3")
    assert server.post("fine").json() == "fine"


def test_a_status_that_cannot_be_sent_is_a_failed_run(server: Server):
    assert server.post("odd-status").json()["code"] == "workflow-failed"


def test_a_header_that_is_set_after_the_reply_was_made_is_checked_too(server: Server):
    answer = server.post("split", json="/x\r\nSet-Cookie: a=b")
    assert (answer.status_code, "set-cookie" in answer.headers) == (500, False)
    assert server.post("split", json="/x").headers["location"] == "/x"


@pytest.mark.parametrize("trigger", ["overwrites", "cancels-soon", "stops-the-loop"])
def test_the_run_of_code_that_reaches_for_the_server_gets_its_own_reply(server: Server, trigger: str):
    answer = server.post(trigger)
    assert (answer.status_code, answer.json()) == (200, "fine")
    record = server.client.get(f"/runs/{answer.headers['x-run-id']}").json()
    assert record["state"] == "Succeeded"
    assert server.post("fine").json() == "fine"
