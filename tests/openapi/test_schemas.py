"""Schemas of odd types: none spoils a document, none shows a secret, and what fits the types fits the schemas."""

import json
from copy import deepcopy
from datetime import UTC
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from pydantic import ValidationError

from postern.openapi.connector import Address, connector_of
from postern.openapi.connector_auth import NoSignIn
from postern.openapi.docs_page import page
from postern.openapi.document import openapi_document
from postern.openapi.examples import Examples
from postern.openapi.schemas import UNKNOWN
from tests.examples import example_count
from tests.modules import no_modules_left
from tests.openapi.catalogs import HERE, triggers_of, write
from tests.openapi.lint import breaches
from tests.shipped import examples_folder

pytestmark = pytest.mark.slow

Json = dict[str, Any]

UNTYPED = {"content": {"application/json": {"schema": UNKNOWN}}}


def body(document: Json, path: str) -> Any:
    operation = document["paths"][path]["post"]
    return operation["requestBody"]["content"]["application/json"]["schema"]


def result(document: Json, path: str) -> Any:
    operation = document["paths"][path]["post"]
    return operation["responses"]["200"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize("path", ["/triggers/no-schema", "/triggers/failing"])
def test_a_type_without_a_schema_is_anything_and_says_so(odd: Json, path: str):
    assert body(odd, path) == result(odd, path) == UNKNOWN


def test_a_reference_that_leads_elsewhere_is_not_followed(odd: Json):
    assert body(odd, "/triggers/astray") == UNKNOWN


def test_models_of_one_name_in_two_modules_have_two_names(odd: Json):
    names = set(odd["components"]["schemas"])
    assert {"workflows__odd__Tree-Input", "workflows__odd__Tree-Output", "workflows__other__Tree"} <= names
    assert "Tree" not in names


def test_a_model_named_problem_leaves_the_name_to_the_problems(odd: Json):
    schemas = odd["components"]["schemas"]
    assert "detail" in schemas["Problem"]["properties"]
    assert list(schemas["ProblemOfWorkflow"]["properties"]) == ["mine"]


def test_defaults_that_are_secrets_places_of_the_server_or_no_json_are_left_out(odd: Json):
    text = json.dumps(odd)
    assert "hunter" not in text
    assert "/srv" not in text
    properties = odd["components"]["schemas"]["Odd"]["properties"]
    left_out = {name for name, schema in properties.items() if "default" not in schema}
    hidden = {"login", "api_key", "hidden", "place", "dsn", "token_list", "defaults", "point"}
    assert left_out == hidden | {"pet", "tree", "when", "price"}


def test_rules_and_harmless_defaults_stay(odd: Json):
    schemas = odd["components"]["schemas"]
    assert schemas["Odd"]["properties"]["how_long"]["default"] == "PT5M"
    lives = schemas["Cat"]["properties"]["lives"]
    assert (lives["default"], lives["exclusiveMinimum"], lives["maximum"]) == (9, 0, 9)
    assert schemas["Odd"]["properties"]["pet"]["discriminator"]["mapping"]["cat"] == "#/components/schemas/Cat"


def validator(document: Json, schema: Any) -> Draft202012Validator:
    """A validator of a schema of the document, with its components."""
    return Draft202012Validator({"allOf": [schema], "components": document["components"]})


def test_examples_fit_their_schemas(examples: Json, odd: Json):
    for document in (examples, odd):
        made = Examples(document["components"]["schemas"])
        for methods in document["paths"].values():
            for operation in methods.values():
                schemas = [each["schema"] for each in operation["parameters"] if "schema" in each]
                if "requestBody" in operation:
                    schemas.append(operation["requestBody"]["content"]["application/json"]["schema"])
                for schema in schemas:
                    validator(document, schema).validate(made.example(schema))


SLIPS = """
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, Field, RootModel, WithJsonSchema
from typing_extensions import TypeAliasType

from postern import Context, anonymous, workflow


class Cat(BaseModel):
    lives: int


class Slips(BaseModel):
    required: int = Field(0, json_schema_extra={"required": True})
    examples: int = Field(0, json_schema_extra={"examples": {"one": {"value": 3}}})
    exclusive: int = Field(4, ge=3, json_schema_extra={"exclusiveMinimum": True})
    formatted: int = Field(0, json_schema_extra={"format": {"a": 1}})
    elsewhere: Annotated[Any, WithJsonSchema({"$id": "https://elsewhere.example/x", "properties": {"a": True}})] = 1
    rust: str = Field("", pattern=r"^\\pL+$")
    nothing: Annotated[Any, WithJsonSchema({"type": "array", "prefixItems": [False], "multipleOf": 0})] = None
    odd: Annotated[Any, WithJsonSchema({"type": "strange", "enum": [], "items": [{}], "minItems": -1})] = None


class Defaults(BaseModel):
    null: str = None
    model: Cat = None
    small: int = Field(0, ge=1)
    bound: int = Field(5, lt=5)
    short: str = Field("", min_length=1)
    few: list[int] = Field([], min_length=1)
    maybe: int | None = Field(0, ge=3)
    good: int | None = Field(None, ge=3)
    one: float = 1
    text: bytes = b"text"
    file: Base64Bytes = b""
    fixed: Literal["a"] = "b"
    pointer: dict[str, str] = {"$ref": "#/nowhere"}


class Tree(RootModel[list["Tree"]]): ...


Value = TypeAliasType("Value", "int | list[Value] | dict[str, Value]")


@workflow(access=anonymous(), path="/{room}")
def slips(
    ctx: Context, body: Slips, room: Annotated[int, Field(description="Its number on the plan")]
) -> Defaults: ...


@workflow(access=anonymous())
def trees(ctx: Context, body: Tree) -> Value: ...
"""


@pytest.fixture(scope="module")
def slips(tmp_path_factory: pytest.TempPathFactory) -> Json:
    with no_modules_left():
        return openapi_document(triggers_of(write(tmp_path_factory.mktemp("slips"), slips=SLIPS)), HERE)


def test_a_slip_of_an_author_spoils_no_document(slips: Json):
    validate(deepcopy(slips), cls=OpenAPIV31SpecValidator)
    assert "/triggers/trees" in page(slips)
    connector = connector_of(slips, Address("postern.example", "/"), NoSignIn(), "Slips")
    assert breaches(connector.definition, connector.properties) == []
    validate(connector.definition)


def test_a_slip_costs_its_keyword_only(slips: Json):
    members = slips["components"]["schemas"]["Slips"]["properties"]
    kept = {name: set(schema) - {"title", "type", "default"} for name, schema in members.items()}
    assert kept == {
        "required": set(),
        "examples": set(),
        "exclusive": {"minimum"},
        "formatted": set(),
        "elsewhere": {"properties"},
        "rust": set(),
        "nothing": {"prefixItems"},
        "odd": set(),
    }
    assert members["elsewhere"]["properties"] == {"a": {}}
    assert members["nothing"]["prefixItems"] == [{"not": {}}]


def test_a_default_that_does_not_fit_is_left_out(slips: Json):
    members = slips["components"]["schemas"]["Defaults"]["properties"]
    assert {name for name, schema in members.items() if "default" in schema} == {"good", "one", "text", "file"}


def test_bytes_are_text_and_files_are_base64(slips: Json):
    members = slips["components"]["schemas"]["Defaults"]["properties"]
    assert "format" not in members["text"]
    assert members["file"]["format"] == "base64"


def test_what_an_author_says_of_a_part_of_the_path_is_shown(slips: Json):
    parameter = slips["paths"]["/triggers/slips/{room}"]["post"]["parameters"][0]
    assert parameter["description"] == "Its number on the plan"


MEMBERS = {
    "name": st.text(max_size=102) | st.just("x" * 101),
    "days": st.integers(-1, 62) | st.floats(allow_nan=False, allow_infinity=False) | st.just("3"),
    "minutes": st.integers(10, 500) | st.booleans(),
    "start": st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat()) | st.text(max_size=20),
    "desk": st.integers() | st.none(),
    "more": st.none() | st.text(max_size=3),
}
BODIES = (
    st.fixed_dictionaries(MEMBERS)
    | st.fixed_dictionaries({}, optional=MEMBERS)
    | st.none()
    | st.lists(st.integers(), max_size=2)
)
with no_modules_left():
    TRIGGERS = triggers_of(examples_folder())
TYPED = sorted(name for name, trigger in TRIGGERS.items() if trigger.workflow.body is not None)


@pytest.mark.parametrize("name", TYPED)
def test_a_body_that_fits_the_type_fits_the_schema(examples: Json, name: str):
    """Strictly: by pydantic's leave a number may also come as a text."""
    parameter = TRIGGERS[name].workflow.body
    assert parameter is not None
    adapter = parameter.adapter
    assert adapter is not None
    path = next(path for path in examples["paths"] if path.split("/")[2] == name)
    schema = validator(examples, body(examples, path))
    fitted = []

    @settings(max_examples=example_count(60), deadline=None, database=None)
    @example(Examples(examples["components"]["schemas"]).example(body(examples, path)))
    @given(BODIES)
    def fits(value: Any) -> None:
        try:
            adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError:
            return
        fitted.append(value)
        schema.validate(value)

    fits()
    assert fitted
