"""Examples are accepted by the workflows that they are for, or there is none."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.catalog import Trigger
from postern.openapi.docs_page import NO_EXAMPLE, NOBODY, page
from postern.openapi.document import openapi_document
from postern.openapi.example_requests import example_requests
from postern.openapi.operations import operations
from postern.openapi.pattern_text import text_for
from postern.triggers.find import find
from postern.triggers.read import arguments
from tests.modules import no_modules_left
from tests.openapi.catalogs import HERE, ROOT, triggers_of, write
from tests.table import table

Json = dict[str, Any]

STRICT = r"""
from typing import Annotated, Literal
from uuid import UUID
from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator
from postern import anonymous, workflow

class Order(BaseModel):
    number: str = Field(pattern=r"^[A-Z]{2}-\d{4}$")
    code: Annotated[str, Field(pattern="^(left|right)_[^a-z]+$", min_length=9, max_length=12)]
    amount: float = Field(gt=0, multiple_of=0.25)

class Chosen(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def is_known(cls, word: str) -> str:
        if word != "sesame":
            raise ValueError("no")
        return word

class Given(Chosen):
    model_config = {"json_schema_extra": {"examples": [{"word": "sesame"}]}}

class Angry(BaseModel):
    word: str

    @model_validator(mode="before")
    @classmethod
    def fails(cls, value):
        raise RuntimeError("SENT")

@workflow
async def order(ctx, order: Order): ...

@workflow(path="/{day}/{id}/{code}")
async def part(ctx, day: Literal["mon", "tue"], id: UUID, code: Annotated[str, Field(pattern="^x[0-9]$")]): ...

@workflow
async def chosen(ctx, chosen: Chosen): ...

@workflow
async def given(ctx, given: Given): ...

@workflow
async def angry(ctx, angry: Angry): ...

@workflow(access=anonymous())
async def untyped(ctx, body): ...

@workflow(path="/{code}")
async def slash(ctx, code: Annotated[str, Field(pattern="^x/[0-9]$")]): ...

@workflow(path="/{code}")
async def never(ctx, code: Annotated[str, AfterValidator(int)]): ...
"""


@pytest.fixture(scope="module")
def triggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trigger]:
    with no_modules_left():
        return dict(triggers_of(write(tmp_path_factory.mktemp("strict"), strict=STRICT)))


def accepted(triggers: Any, document: Json) -> list[str]:
    """The workflows whose example is found by its URL and fits the function's parameters."""
    names = []
    for request in example_requests(document).values():
        trigger, path = find(triggers, request.method, request.path.encode())
        body = (request.body or "").encode()
        arguments(trigger.workflow, body, b"application/json" if body else None, path)
        names.append(trigger.workflow.name)
    return sorted(names)


def test_an_example_fits_its_workflow_or_is_not_there(triggers: dict[str, Trigger]):
    document = openapi_document(triggers, HERE)
    assert accepted(triggers, document) == ["given", "order", "part", "untyped"]
    assert "SENT" not in json.dumps(document)


@pytest.mark.parametrize("folder", [ROOT / "workflows"], ids=["the examples of the repository"])
def test_every_shipped_workflow_has_an_example(folder: Path):
    with no_modules_left():
        found = triggers_of(folder)
        assert accepted(found, openapi_document(found, HERE)) == sorted(found)


def test_where_there_is_no_example_the_page_says_so_and_prints_no_command(triggers: dict[str, Trigger]):
    document = openapi_document(triggers, HERE)
    guarded = [each.id for each in operations(triggers) if each.guarded]
    html = page(document, tokens={each: "" if each == "Order" else "postern token --as ada" for each in guarded})
    assert html.count("<code>curl ") == 3  # given, part, untyped
    assert html.count(NOBODY) == 1
    assert html.count(NO_EXAMPLE.partition(". Its")[0]) == 4


def test_a_request_is_a_command_of_curl_and_of_postern_call(triggers: dict[str, Trigger]):
    request = example_requests(openapi_document(triggers, HERE))["Order"]
    curl = shlex.split(request.curl("http://127.0.0.1:8080", "$TOKEN"))
    assert curl[:5] == ["curl", "-X", "POST", "http://127.0.0.1:8080/triggers/order", "-H"]
    assert curl[5:8] == ["Authorization: Bearer $TOKEN", "-H", "Content-Type: application/json"]
    call = shlex.split(request.call("postern", "--as ada"))
    assert call[:5] == ["postern", "call", "order", "--as", "ada"]
    assert json.loads(call[6]) == json.loads(curl[9])


@table(
    ("pattern", "least", "most", "expected"),
    [
        (r"^[A-Z]{2}-\d+$", 0, None, "AA-0"),
        (r"^\d{3,}$", 6, None, "00000000"),
        (r"^(a|b)\1?c{0}$", 0, 2, "aa"),
        (r"[^\s\w]", 0, None, "-"),
        (r"^\S+@\S+\.de$", 0, None, "a@a.de"),
        (r"^€+$", 3, 4, "€€€€"),
        (r"^[ℵ-ℷ]$", 0, None, "ℵ"),
        (r"^x{5}$", 0, 4, None),
        (r"(?=b)a", 0, None, None),
        (r"(", 0, None, None),
        (r"\p{L}+", 0, None, None),
        (r"((a{1000}){1000}){1000}", 0, None, None),
    ],
)
def test_a_text_for_a_pattern(pattern: str, least: int, most: int | None, expected: str | None):
    assert text_for(pattern, least, most) == expected


@settings(deadline=None)
@given(st.text(alphabet=r"ab1[]{}()|\d\w^$.*+?-,", max_size=12), st.integers(0, 20))
def test_whatever_the_pattern_is_the_text_fits_or_there_is_none(pattern: str, least: int):
    found = text_for(pattern, least)
    assert found is None or (re.search(pattern, found) is not None and len(found) >= least)
