"""Whatever a body is, within the default limits: reading it takes a small multiple of parsing so many elements."""

from collections.abc import Callable
from functools import partial
from time import thread_time
from typing import Any

import pytest
from pydantic_core import from_json

from postern import Context, workflow
from postern.authoring.workflow import Workflow
from postern.errors import Problem
from postern.triggers.read import arguments
from tests.heavy.bodies import bodies, listed
from tests.heavy.workflows import heavy

pytestmark = pytest.mark.slow

WORKFLOWS = {each.name: each for each in vars(heavy).values() if isinstance(each, Workflow)}
PARSED = listed('{"a":1,"b":""}', 3)
MOST = 120
"""How many times as long as parsing. A list of 340,000 mistakes took 10,000 times as long, and colliding keys more."""


def seconds(act: Callable[[], Any], times: int = 3) -> float:
    """The least processor time of some tries."""
    found = []
    for _ in range(times):
        began = thread_time()
        act()
        found.append(thread_time() - began)
    return min(found)


def read(made: Workflow, body: bytes) -> str:
    try:
        arguments(made, body, b"application/json", {})
    except Problem as shown:
        return shown.code
    return "read"


@pytest.mark.parametrize(("name", "body"), [pytest.param(name, body, id=what) for what, name, body in bodies()])
def test_a_body_within_the_limits_takes_a_bounded_time(
    name: str, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    code = read(WORKFLOWS[name], body)
    assert code in ("read", "invalid-body"), "it is within the limits, and so it is looked at"
    times = seconds(partial(read, WORKFLOWS[name], body)) / seconds(partial(from_json, PARSED))
    with capsys.disabled():
        print(f"\n{name} {code} {len(body)} bytes: {times:.0f} times as long as parsing")
    assert times < MOST


@workflow(max_elements=10**9)
async def unlimited(ctx: Context, body: list[heavy.Item]) -> None: ...


def test_a_million_wrong_elements_take_no_longer_than_parsing_a_few_times() -> None:
    body = b"[" + b",".join([b"{}"] * 300_000) + b"]"
    assert seconds(partial(read, unlimited, body), 1) < 40 * seconds(partial(from_json, body), 1)
