"""A task has its error, the error has the frames that it left, and a frame has its local variables. One that has the
task closes a circle, and all that the frames hold waits for the garbage collector. The calls of a workflow end so:
see `tests/pipeline/test_chains.py`."""

import ast
from collections.abc import Iterator

import pytest

from tests.test_structure import ROOT, sources

pytestmark = pytest.mark.slow

HAVE_A_TASK = {"asyncio.timeout", "asyncio.timeout_at"}
"""What they return keeps the task that entered it."""

HELD = """
async def held():
    limit = asyncio.timeout(1)
    async with limit:
        await call()
"""
RELEASED = """
async def released():
    limit = asyncio.timeout_at(1)
    try:
        async with limit:
            await call()
    finally:
        del limit
"""
UNNAMED = """
async def unnamed():
    async with asyncio.timeout(1):
        await call()
"""


def kept_limits(text: str) -> Iterator[str]:
    """The limits of time that have a name which is not deleted: a variable in its own function, an attribute anywhere
    in the module."""
    tree = ast.parse(text)
    attributes = {name for name in deleted(tree) if "." in name}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from kept_in(function, attributes | deleted(function))


def deleted(tree: ast.AST) -> set[str]:
    return {ast.unparse(each) for node in ast.walk(tree) if isinstance(node, ast.Delete) for each in node.targets}


def kept_in(function: ast.AST, released: set[str]) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            named = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            named = [(node.optional_vars, node.context_expr)]
        else:
            continue
        for target, value in named:
            has_task = isinstance(value, ast.Call) and ast.unparse(value.func) in HAVE_A_TASK
            if has_task and ast.unparse(target) not in released:
                yield f"{target.lineno}: {ast.unparse(target)}"


def test_no_frame_keeps_a_limit_of_time():
    found = {str(path.relative_to(ROOT)): list(kept_limits(path.read_text("utf-8"))) for path in sources()}
    assert not {path: kept for path, kept in found.items() if kept}


def test_a_kept_limit_is_found():
    with_statement = "async def f():\n    async with asyncio.timeout(1) as limit:\n        await call()\n"
    kept = (HELD, with_statement, RELEASED + HELD)
    assert [len(list(kept_limits(text))) for text in (*kept, RELEASED, UNNAMED)] == [1, 1, 1, 0, 0]
