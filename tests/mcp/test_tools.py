"""What agents are told of a workflow, and which request a call of its tool is."""

from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from postern import Context, Header, Query, Reply, Tool, workflow
from postern.errors import Problem
from postern.mcp.tools import ToolRequest
from tests.examples import example_count
from tests.mcp.plain_rules import root_breaches
from tests.mcp.tools import called, read, tool, tools
from tests.openapi.test_any_schema import TYPES
from tests.table import table

pytestmark = pytest.mark.slow


class Order(BaseModel):
    """What to book."""

    seats: int = Field(gt=0)
    note: str | None = None


class Later(BaseModel):
    seats: int = 1


class Open(BaseModel, extra="allow"):
    seats: int


class Odd(BaseModel):
    seats: int = Field(alias="$seats")


@workflow(tool=True, path="/rooms/{room}/{unnamed}", methods=["GET", "POST", "HEAD"])
def book(
    ctx: Context,
    order: Order,
    room: int,
    dry: Annotated[bool, Query()] = False,
    tags: Annotated[list[str], Query(alias="tag")] = [],  # noqa: B006
    agent: Annotated[str, Header(alias="user-agent")] = "",
) -> Order:
    """Book a room.

    It can be cancelled.
    """
    return order


def test_a_tool_has_the_name_the_docstring_and_the_schemas_of_its_workflow():
    found = tools(book)
    assert [*found] == ["get-book", "post-book"]
    made = found["post-book"]
    assert (made.name, made.method, made.title) == ("post-book", "POST", None)
    assert made.description == "Book a room.\n\nIt can be cancelled."
    assert made.input_schema == {
        "type": "object",
        "description": "What to book.",
        "properties": {
            "room": {"type": "integer"},
            "unnamed": {"type": "string"},
            "dry": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "seats": {"type": "integer", "minimum": 1},
            "note": {"type": "string"},
        },
        "required": ["room", "unnamed", "seats"],
    }
    assert made.output_schema is not None
    assert made.output_schema["required"] == ["seats"]
    assert [*made.output_schema["properties"]] == ["seats", "note"]


def test_tools_are_in_order_of_their_names_and_other_workflows_are_none():
    @workflow(tool=True, name="a")
    def first(ctx: Context) -> None:
        """First."""

    @workflow(name="b")
    def secret(ctx: Context) -> None:
        """Second."""

    @workflow(tool=True, name="get-aa")
    def last(ctx: Context) -> None:
        """Third."""

    assert [*tools(last, book, secret, first)] == ["a", "get-aa", "get-book", "post-book"]
    assert tools(secret) == {}


def test_a_call_is_a_request_to_the_trigger():
    sent = {"room": 7, "unnamed": "a b", "dry": True, "tags": ["x", "y&z"], "seats": 2, "note": "ü"}
    made = tools(book)["get-book"]
    request = made.request(sent)
    assert request == ToolRequest(
        "GET", b"/triggers/book/rooms/7/a%20b?dry=true&tag=x&tag=y%26z", '{"seats":2,"note":"ü"}'.encode()
    )
    assert read(made, request) == {
        "room": 7,
        "dry": True,
        "tags": ["x", "y&z"],
        "order": Order(seats=2, note="ü"),
    }


def of_method(said: Tool, method: str) -> tuple[bool, ...]:
    @workflow(tool=said, methods=[method])
    def some(ctx: Context) -> None:
        """Some."""

    hints = tool(some).annotations
    assert [*hints] == ["readOnlyHint", "destructiveHint", "idempotentHint"]
    return tuple(hints.values())


@table(
    "said, method, hints",
    [  #                             read-only destructive idempotent
        (Tool(), "GET", (True, False, True)),
        (Tool(), "POST", (False, True, False)),
        (Tool(), "PATCH", (False, True, False)),
        (Tool(), "PUT", (False, True, True)),
        (Tool(), "DELETE", (False, True, True)),
        (Tool(read_only=True), "POST", (True, False, True)),
        (Tool(read_only=False), "GET", (False, True, True)),
        (Tool(destructive=False), "POST", (False, False, False)),
        (Tool(destructive=True), "GET", (False, True, True)),
        (Tool(idempotent=True), "POST", (False, True, True)),
        (Tool(idempotent=False), "PUT", (False, True, False)),
    ],
)
def test_hints_are_what_the_author_says_or_else_what_the_method_means(said: Tool, method: str, hints: tuple[bool, ...]):
    assert of_method(said, method) == hints


def test_a_title_is_that_of_the_tool_and_of_its_hints():
    @workflow(tool=Tool(title="Book a seat"))
    def some(ctx: Context) -> None:
        """Some."""

    assert (tool(some).title, tool(some).annotations["title"]) == ("Book a seat", "Book a seat")


def test_an_example_of_a_body_is_none_of_all_arguments():
    class Shown(BaseModel):
        model_config = ConfigDict(json_schema_extra={"examples": [{"seats": 2}]})
        seats: int

    assert tool(body_of(Shown)).input_schema["examples"] == [{"seats": 2}]
    assert "examples" not in tool(body_of(Shown, "/{room}")).input_schema


def body_of(annotation: Any, path: str = "", **default: Any) -> Any:
    """A workflow with such a body, and a parameter of its path if there is one."""
    if path:
        name = path.strip("/{}")
        source = f"def some(ctx: Context, given: Kind, {name}: str) -> None:\n    'Some.'"
    else:
        source = f"def some(ctx: Context, given: Kind{' = default' if default else ''}) -> None:\n    'Some.'"
    names: dict[str, Any] = {"Kind": annotation, "Context": Context, **default}
    exec(source, names)
    return workflow(tool=True, path=path)(names["some"])


NEVER: dict[str, Any] = {}


@table(
    "annotation, path, default, members, body",
    [
        (Order, "", NEVER, True, ""),
        (Order, "/{room}", NEVER, True, ""),
        (Order, "/{seats}", NEVER, False, "body"),
        (dict[str, int], "", NEVER, True, ""),
        (dict[str, int], "/{room}", NEVER, False, "body"),
        (Open, "", NEVER, True, ""),
        (Open, "/{room}", NEVER, False, "body"),
        (Odd, "", NEVER, False, "body"),
        (list[int], "", NEVER, False, "body"),
        (Order | Later, "", NEVER, False, "body"),
        (Order | None, "", NEVER, False, "body"),
        (Order | None, "", {"default": None}, False, "body"),
        (Later | None, "", {"default": None}, True, ""),
        (Any, "", NEVER, False, "body"),
        (list[int], "/{body}", NEVER, False, "request_body"),
    ],
    ids=repr,
)
def test_the_members_of_a_body_are_arguments_unless_it_is_no_object_or_names_clash(
    annotation: Any, path: str, default: Any, members: bool, body: str
):
    made = tool(body_of(annotation, path, **default))
    assert (made.members, made.body) == (members, body)
    assert root_breaches(made.input_schema) == []


def test_a_body_beside_a_parameter_called_body_has_another_name():
    @workflow(tool=True, path="/{body}")
    def some(ctx: Context, given: list[int], body: str) -> None:
        """Some."""

    assert tool(some).body == "request_body"
    assert called(some, body="x", request_body=[1]) == {"body": "x", "given": [1]}


def test_a_body_that_may_be_left_out_is_left_out():
    @workflow(tool=True)
    def some(ctx: Context, given: Later = Later(seats=9)) -> None:  # noqa: B008
        """Some."""

    @workflow(tool=True)
    def other(ctx: Context, given: Order | None = None) -> None:
        """Other."""

    assert called(some) == {}
    assert called(some, seats=2) == {"given": Later(seats=2)}
    assert called(other) == {}
    assert called(other, body={"seats": 2}) == {"given": Order(seats=2)}
    assert "required" not in tool(other).input_schema


def test_a_workflow_without_a_body_takes_no_other_arguments():
    @workflow(tool=True)
    def some(ctx: Context) -> None:
        """Some."""

    assert tool(some).input_schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert called(some) == {}
    shown = tool(some).request({"seats": 1}).problem
    assert isinstance(shown, Problem)
    assert (shown.code, shown.members) == (
        "invalid-body",
        {"errors": [{"where": "/seats", "message": "the tool has no such argument"}]},
    )


def test_an_untyped_body_is_any_json():
    @workflow(tool=True)
    def some(ctx: Context, given):
        """Some."""

    assert tool(some).input_schema["properties"] == {"body": {}}
    assert called(some, body=[1, None]) == {"given": [1, None]}


NO_PART = ("", ".", "..", "a/b", "a\\b", "\n", "\ud800")
FULL = {"room": 1, "unnamed": "x", "seats": 1}


@table(
    "arguments, code, where",
    [
        ({**FULL, "room": None}, "invalid-path", "/path/room"),
        ({**FULL, "room": {"a": 1}}, "invalid-path", "/path/room"),
        ({"unnamed": "x"}, "invalid-path", "/path/room"),
        *(({**FULL, "unnamed": text}, "invalid-path", "/path/unnamed") for text in NO_PART),
        ({**FULL, "tags": [{}]}, "invalid-query", "/query/tag"),
        ({**FULL, "tags": ["\ud800"]}, "invalid-query", "/query/tag"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_request_are_a_problem(arguments: dict[str, Any], code: str, where: str):
    request = tools(book)["post-book"].request(arguments)
    assert request.problem is not None
    assert (request.path, request.body, request.problem.code) == (b"", b"", code)
    assert [each["where"] for each in request.problem.members["errors"]] == [where]


def test_a_missing_body_is_a_problem():
    shown = tool(body_of(list[int])).request({}).problem
    assert shown is not None
    assert shown.members["errors"] == [{"where": "/body", "message": "Field required"}]


def result_of(annotation: Any, **options: Any) -> Any:
    def some(ctx: Context) -> Any:
        """Some."""

    some.__annotations__["return"] = annotation
    return tool(workflow(tool=True, **options)(some)).output_schema


@table(
    "annotation, options, schema",
    [
        (list[int], {}, {"type": "array", "items": {"type": "integer"}}),
        (int, {}, {"type": "integer"}),
        (Literal["a", "b"], {}, {"type": "string", "enum": ["a", "b"]}),
        (int | bool, {}, {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}),
        (Any, {}, None),
        (str, {}, None),
        (dict, {}, None),
        (Order | None, {}, None),
        (Order | Later, {}, None),
        (Reply, {}, None),
        (Order | Reply, {}, None),
        (int, {"produces": "text/csv"}, None),
        (int, {"durable": True}, None),
    ],
)
def test_only_a_result_that_is_validated_has_a_schema(annotation: Any, options: dict[str, Any], schema: Any):
    """What is certainly no object is the member `result` of one."""
    found = result_of(annotation, **options)
    assert found == (
        None if schema is None else {"type": "object", "properties": {"result": schema}, "required": ["result"]}
    )


MOST = settings(max_examples=example_count(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TYPED = TYPES.flatmap(lambda one: st.tuples(st.just(one[0]), one[1]))


@MOST
@given(TYPED, st.text(min_size=1, max_size=5), st.integers() | st.booleans() | st.none(), st.lists(st.text(max_size=4)))
def test_a_call_gives_the_function_its_arguments(made: tuple[Any, Any], room: str, flag: Any, tags: list[str]):
    """For a body of any type, and any texts in the path and the query."""
    kind, value = made

    def some(ctx: Context, body: Any, room: str, flag: Any = None, tags: Any = ()) -> None:
        """Some."""

    some.__annotations__ |= {
        "body": kind,
        "flag": Annotated[int | bool | None, Query()],
        "tags": Annotated[list[str], Query()],
    }
    found = tool(workflow(tool=True, path="/{room}")(some))
    assert root_breaches(found.input_schema) == []
    for validator in (Draft7Validator, Draft202012Validator):
        validator.check_schema(found.input_schema)
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    sent = adapter.dump_python(value, mode="json")
    arguments = (sent if found.members else {found.body: sent}) | {"room": room, "tags": tags, "flag": flag}
    request = found.request(arguments)
    if request.problem is not None:
        assert request.problem.code in ("invalid-path", "invalid-query")
        assert not room.isprintable() or room in (".", "..") or {"/", "\\"} & {*room}
        return
    try:
        expected = adapter.validate_json(adapter.dump_json(value))
    except ValueError:  # a type that does not read what it writes
        return
    got = dict(read(found, request))
    listed = [] if tags == [""] else tags  # one empty text counts as left out
    assert (got["body"], got["room"], got.get("tags", [])) == (expected, room, listed)
    assert got.get("flag") == (None if flag is None else flag)
