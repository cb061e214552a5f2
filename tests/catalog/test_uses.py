"""The catalog says which connections and secrets a workflow uses: what it declares, else what is seen in its file."""

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.catalog import Catalog
from postern.catalog.uses import MOST, Names, Uses, seen_in
from tests.catalog.test_catalog import bind
from tests.table import table

HEAD = "from postern import Context, workflow\n"


@table(
    ("source", "connections", "secrets"),
    [
        ("", "", ""),
        ('ctx.connection("graph")', "graph", ""),
        ('await ctx.connection("orders").get("/open")', "orders", ""),
        ('async def f(c):\n  return await c.secret("key"), c.secret(name="other")', "", "key other"),
        ('ctx.connection("b"); ctx.connection("a"); ctx.connection("b")', "a b", ""),
        ('self.ctx.connection("graph")', "graph", ""),
        ('f(lambda ctx: [ctx.secret("a") for _ in ()])', "", "a"),
        ('connection("graph"); secret("a")', "", ""),
        ("ctx.connection(name); ctx.connection(f'{a}'); ctx.connection('a' + b)", "", ""),
        ("ctx.connection(*names); ctx.connection(**names); ctx.connection()", "", ""),
        ("ctx.connection(b'graph'); ctx.connection(1); ctx.connection(None)", "", ""),
        ("ctx.connection(''); ctx.connection('a\\nb'); ctx.connection('\\ud800')", "", ""),
        (f"ctx.connection('{'a' * 128}'); ctx.connection('{'a' * 127}')", "a" * 127, ""),
        ("# ctx.connection('graph')\n'ctx.connection(\"graph\")'", "", ""),
        ("ctx.connection", "", ""),
        ("ctx.connection('a'", "", ""),
        ("\0", "", ""),
        ("(" * 5000 + ")" * 5000, "", ""),
        ("-" * 200_000 + "1", "", ""),
        ("ctx" + ".connection('a')" * 20_000, "", ""),
    ],
)
def test_literals_are_seen_in_a_file(source: str, connections: str, secrets: str):
    assert seen_in(source) == Uses(Names(tuple(connections.split())), Names(tuple(secrets.split())))


def test_no_file_makes_a_long_list():
    seen = seen_in("".join(f"ctx.secret('a{number}')\n" for number in range(2 * MOST)))
    assert len(seen.secrets.names) == MOST


PARTS = st.sampled_from(
    ["ctx", ".connection", ".secret", "(", ")", "'a'", '"b"', "name=", "*", ",", " ", "\n", "f'{x}'", "="]
)


@given(st.text(max_size=60) | st.lists(PARTS, max_size=20).map("".join))
def test_any_text_is_read(source: str):
    seen = seen_in(source)
    for name in (*seen.connections.names, *seen.secrets.names):
        assert repr(name) in ast.dump(ast.parse(source))
        assert name.isprintable()


@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.sampled_from(["connection", "secret"]))
def test_any_name_is_seen_wherever_its_call_is(name: str, method: str):
    for place in ("{}", "def f(ctx):\n  return [{}]", "class A:\n  async def f(self):\n    await g({})"):
        seen = seen_in(place.format(f"ctx.{method}({name!r})"))
        assert (seen.connections if method == "connection" else seen.secrets) == Names((name,))


def uses(folder: Path, **files: str) -> dict[str, Uses]:
    for name, text in files.items():
        file = folder / f"{name.replace('__in__', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(HEAD + dedent(text), encoding="utf-8")
    snapshot = Catalog(folder, bind).load()
    assert not snapshot.faults
    return {name: trigger.uses for name, trigger in snapshot.triggers.items()}


@pytest.mark.usefixtures("own_modules")
def test_what_is_declared_is_all_and_what_is_seen_fills_the_rest(tmp_path: Path):
    found = uses(
        tmp_path,
        orders="""
        @workflow
        async def bare(ctx: Context):
            return await ctx.connection("orders").get("/"), await ctx.secret("key")

        @workflow(connections=["graph"])
        async def half(ctx: Context): ...

        @workflow(connections=[], secrets=["pin"])
        async def whole(ctx: Context): ...
        """,
    )
    seen = Uses(Names(("orders",)), Names(("key",)))
    assert found["bare"] == seen
    assert found["half"] == Uses(Names(("graph",), declared=True), seen.secrets)
    assert found["whole"] == Uses(Names((), declared=True), Names(("pin",), declared=True))


@pytest.mark.usefixtures("own_modules")
def test_a_workflow_of_a_package_is_looked_up_in_the_file_that_it_is_written_in(tmp_path: Path):
    found = uses(
        tmp_path,
        package__in____init__="from workflows.package.inner import f\n@workflow\ndef g(ctx: Context): ctx.secret('g')",
        package__in__inner="@workflow\ndef f(ctx: Context): ctx.secret('f')",
    )
    assert found == {"f": Uses(secrets=Names(("f",))), "g": Uses(secrets=Names(("g",)))}


@pytest.mark.usefixtures("own_modules")
def test_an_edited_file_is_looked_at_again(tmp_path: Path):
    assert uses(tmp_path, one="@workflow\ndef f(ctx: Context): ctx.secret('a')")["f"].secrets == Names(("a",))
    assert uses(tmp_path, one="@workflow\ndef f(ctx: Context): ctx.secret('bc')")["f"].secrets == Names(("bc",))
