"""Forms, queries and header fields as parameters: what loads, what is a fault, and what a type says of its texts."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, Field, TypeAdapter, field_validator
from typing_extensions import TypedDict

from postern import Context, Form, Header, Query, UploadFile, workflow
from postern.authoring.form_type import FormType, Shape, form_type, shape_of
from postern.authoring.inputs import safe_filename
from postern.authoring.signature import WorkflowFault


class Order(BaseModel):
    item: str
    amount: int | None = None
    tags: set[str] = Field(default_factory=set, alias="tag")
    photo: UploadFile | None = None
    files: list[UploadFile] = []
    both: str = Field("", validation_alias=AliasChoices("one", "other"))

    @field_validator("item")
    @classmethod
    def short(cls, value: str) -> str:
        return value[:5]


@dataclass
class Note:
    text: str
    count: int = 1


class Typed(TypedDict, total=False):
    text: str


class JsonWithFile(BaseModel):
    inner: list[Order]


def form_of(kind: Any) -> FormType:
    found = form_type(TypeAdapter(kind), Form())
    assert found is not None
    return found


def test_the_type_says_which_names_have_several_texts_files_or_defaults():
    assert form_of(Order).fields == {
        "item": Shape(text=True),
        "amount": Shape(optional=True),
        "tags": Shape(several=True, optional=True),
        "tag": Shape(several=True, optional=True),
        "photo": Shape(file=True, optional=True),
        "files": Shape(several=True, file=True, optional=True),
        "both": Shape(text=True, optional=True),
        "one": Shape(text=True, optional=True),
        "other": Shape(text=True, optional=True),
    }
    assert form_of(Note).fields == {"text": Shape(text=True), "count": Shape(optional=True)}
    assert form_of(Typed).fields == {"text": Shape(text=True, optional=True)}
    assert form_of(Order).files
    assert not form_of(Note).files


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (int, Shape()),
        (str | None, Shape(text=True)),
        (list[int], Shape(several=True)),
        (tuple[int, str] | None, Shape(several=True)),
        (Annotated[frozenset[str], Field(min_length=1)], Shape(several=True)),
        (Any, Shape(text=True)),
    ],
)
def test_a_single_type_has_a_shape(kind: Any, shape: Shape):
    assert shape_of(TypeAdapter(kind)) == shape


async def in_json(ctx: Context, body: JsonWithFile): ...
async def alone(ctx: Context, file: UploadFile): ...
async def one_text(ctx: Context, text: Annotated[str, Form()]): ...
async def limits(ctx: Context, order: Annotated[Order, Form(max_files=-1)]): ...
async def default_of_query(ctx: Context, page: int = Query()): ...  # type: ignore[assignment]
async def two_places(ctx: Context, page: Annotated[int, Query(), Header()]): ...
async def token(ctx: Context, authorization: Annotated[str, Header()]): ...
async def cookie(ctx: Context, sent: Annotated[str, Header(alias="Cookie")]): ...
async def bad_name(ctx: Context, sent: Annotated[str, Header(alias="a b")]): ...
async def model_in_query(ctx: Context, note: Annotated[Note, Query()]): ...
async def twice(ctx: Context, x_a: Annotated[str, Header()], b: Annotated[str, Header(alias="X-A")]): ...
async def in_path(ctx: Context, day: Annotated[int, Query()]): ...
async def yields(ctx: Context) -> Any:
    yield 1


async def no_context(order: Annotated[Order, Form()]): ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (in_json, "Annotated[Order, Form()]"),
        (alone, "only a form can carry"),
        (one_text, "has no fields"),
        (limits, "max_files=-1"),
        (default_of_query, "Annotated[..., Query()]"),
        (two_places, "choose one"),
        (token, "credentials never reach a workflow"),
        (cookie, "credentials never reach a workflow"),
        (bad_name, "not a name of a header field"),
        (model_in_query, "list[str]"),
        (twice, "'x-a' of the header"),
        (in_path, "leave Query() out"),
        (yields, "return Reply.stream(...)"),
        (no_context, "is the Context, not the body"),
    ],
)
def test_what_cannot_be_is_a_fault_that_says_what_to_write(function: Any, says: str):
    path = "/{day}" if function is in_path else ""
    with pytest.raises(WorkflowFault) as fault:
        workflow(path=path)(function)
    assert says in str(fault.value)


def test_parameters_may_be_by_keyword_and_the_class_alone_marks_one():
    @workflow
    async def made(ctx: Context, *, page: Annotated[int, Query] = 1, x_tag: Annotated[list[str], Header()] = []): ...  # noqa: B006

    assert [(each.place, each.sent, each.required) for each in made.parameters] == [
        ("query", "page", False),
        ("header", "x-tag", False),
    ]
    assert made.body is None


@given(st.text())
def test_a_filename_is_safe_in_a_folder(name: str):
    safe = safe_filename(name)
    assert not {"/", "\\", "\x00", "\n"} & set(safe)
    assert safe not in (".", "..")
    assert len(safe) <= 255
    assert safe_filename(safe) == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.png", "cat.png"),
        ("C:\\temp\\cat.png", "cat.png"),
        ("../../etc/passwd", "passwd"),
        ("a/..", ""),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\r\nb.txt", "ab.txt"),
    ],
)
def test_folders_and_control_characters_of_a_filename_are_left_out(name: str, safe: str):
    assert safe_filename(name) == safe


def test_the_text_of_a_file_shows_no_name():
    from io import BytesIO

    assert repr(UploadFile(BytesIO(b"1"), size=1, filename="secret.txt")) == "UploadFile(size=1)"
