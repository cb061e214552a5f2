"""What the source of a workflow shows of likely mistakes, and what it does not take for one."""

import ast
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

import postern
from postern.catalog.likely_mistakes import likely_mistakes, parsed, why_missing, without_access
from postern.catalog.versions import advice_of
from postern.near_names import near

ROOT = Path(postern.__file__).parents[2]
HEAD = "import asyncio, time\n\nasync def own(): ...\n\n"


def found(body: str, keyword: str = "async def", parameters: str = "ctx") -> list[str]:
    tree = parsed(f"{HEAD}{keyword} f({parameters}):\n{indent(body, '    ')}\n")
    assert tree is not None
    return [advice.cause.split("(")[0].removesuffix(" is printed or logged here.") for advice in likely_mistakes(tree)]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("ctx.call('x')", ["ctx.call"]),
        ("return ctx.step(own)", ["ctx.step"]),
        ("ctx.secret('x').encode()", ["ctx.secret"]),
        ("ctx.wait_for('x')['y']", ["ctx.wait_for"]),
        ("ctx.connection('x').get('/').json()", ["The request get"]),
        ("c = ctx.connection('x')\nc.post('/')", ["The request post"]),
        ("if True:\n    own()", ["own"]),
        ("time.sleep(1)", ["time.sleep"]),
        ("requests.get('x')", ["requests.get"]),
        ("s = await ctx.secret('x')\nctx.log.info('s', s=s)", ["A secret"]),
        ("s = await ctx.secret('x')\nlogger.info(s)", ["A secret"]),
    ],
)
def test_a_likely_mistake_is_seen(body: str, names: list[str]):
    assert found(body) == names


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.call('x')",
        "return await ctx.step(own)",
        "task = asyncio.create_task(ctx.call('x'))",
        "await asyncio.gather(ctx.step(own), own())",
        "one = ctx.step(own)\nawait one",
        "(await ctx.connection('x').get('/')).json()",
        "ctx.request.query.get('x')",
        "{}.get('x')",
        "await asyncio.sleep(1)",
        "await asyncio.to_thread(time.sleep, 1)",
        "def inner():\n    time.sleep(1)\nawait asyncio.to_thread(inner)",
        "s = await ctx.secret('x')\nhmac.digest(s, b'', 'sha256')",
        "return lambda: own()",
    ],
)
def test_what_is_right_is_not_taken_for_a_mistake(body: str):
    assert found(body) == []


def test_a_def_may_return_a_coroutine_and_may_wait():
    """The server awaits it, and a `def` has a thread."""
    assert found("return ctx.call('x')", "def") == []
    assert found("time.sleep(1)", "def") == []


def test_the_context_is_known_by_its_name_or_its_annotation():
    assert found("context.call('x')", parameters="context: Context") == ["context.call"]
    assert found("other.call('x')", parameters="other: Client") == []


@pytest.mark.parametrize(
    ("decorator", "missing"),
    [
        ("@workflow", True),
        ("@workflow()", True),
        ("@postern.workflow(timeout=1)", True),
        ("@workflow(access=anonymous())", False),
        ("@workflow(**options)", False),
        ("@other", False),
    ],
)
def test_a_workflow_without_access_is_seen(decorator: str, missing: bool):
    assert [each.harmless for each in without_access(ast.parse(f"{decorator}\ndef f(ctx): ..."))] == [True] * missing


@pytest.mark.slow
def test_no_shipped_file_has_a_likely_mistake():
    """So it makes no false alarms in code that works; nothing that Python can parse is too much for it."""
    for file in [*ROOT.glob("workflows/*.py"), *ROOT.glob("app/postern/**/*.py")]:
        tree = ast.parse(file.read_text("utf-8"))
        assert likely_mistakes(tree) == (), file
        assert why_missing(tree).fix != ""


def test_a_large_file_is_not_parsed_for_it():
    """It is data, and the parser would hold all requests."""
    text = "@workflow\ndef f(ctx): ...\n"
    assert len(advice_of(text)) == 1
    assert advice_of(text + f"data = '{'x' * 100_000}'") == ()


@given(st.text())
def test_any_text_can_be_read(source: str):
    tree = parsed(source)
    assert tree is None or likely_mistakes(tree) is not None


@given(st.text(min_size=4), st.lists(st.text()))
def test_a_known_name_is_the_nearest_to_itself_in_any_letters(name: str, others: list[str]):
    assert near(name, [name]) == name
    assert near(name, others) in ("", *others)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("lissa", "lisa"), ("Lisa", "lisa"), ("lsia", ""), ("acess", "access"), ("ada", "ada"), ("x", "")],
)
def test_a_near_name_is_found_and_a_far_one_is_not(name: str, meant: str):
    assert near(name, ["lisa", "ada", "access"]) == meant
