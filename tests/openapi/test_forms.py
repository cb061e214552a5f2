"""Forms, queries, header fields, files and streams in the documents, the connector and the page."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from postern.authoring.signature import WorkflowFault
from postern.authoring.workflow import workflow
from postern.catalog import Trigger
from postern.cli.form_option import sent_form
from postern.http_client import Request
from postern.openapi.connector import Address, connector_of
from postern.openapi.connector_auth import NoSignIn
from postern.openapi.docs_page import page
from postern.openapi.document import openapi_document
from postern.openapi.example_requests import example_requests
from postern.openapi.openapi30 import openapi30_of
from postern.openapi.swagger import swagger_of
from postern.triggers.find import find
from postern.triggers.read import arguments
from tests.modules import no_modules_left
from tests.openapi.catalogs import HERE, triggers_of, write
from tests.openapi.lint import breaches

Json = dict[str, Any]

FORMS = """
from typing import Annotated
from pydantic import BaseModel, Field
from postern import Form, Header, Query, Reply, UploadFile, anonymous, workflow

class Order(BaseModel):
    item: str = Field(description="What is wanted.")
    amount: int = Field(1, ge=1)
    tags: list[str] = []

class Sheet(BaseModel):
    title: str
    photo: UploadFile
    logo: UploadFile | None = None
    pages: list[UploadFile] = []

@workflow(access=anonymous())
async def order(ctx, order: Annotated[Order, Form()]): ...

@workflow(access=anonymous())
async def sheet(ctx, sheet: Annotated[Sheet, Form()]): ...

@workflow(access=anonymous(), methods=["GET"], produces="text/csv")
async def search(
    ctx,
    q: Annotated[str, Query(), Field(description="What to find.")],
    x_shop: Annotated[int, Header()],
    tag: Annotated[list[str], Query()] = [],
) -> Reply: ...

@workflow(access=anonymous(), methods=["GET"], produces="application/pdf")
async def invoice(ctx) -> Reply: ...
"""


@pytest.fixture(scope="module")
def triggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trigger]:
    with no_modules_left():
        return dict(triggers_of(write(tmp_path_factory.mktemp("forms"), forms=FORMS)))


@pytest.fixture(scope="module")
def document(triggers: dict[str, Trigger]) -> Json:
    return openapi_document(triggers, HERE)


def test_a_form_has_its_media_types_and_a_file_is_binary(document: Json):
    order = document["paths"]["/triggers/order"]["post"]["requestBody"]
    assert list(order["content"]) == ["multipart/form-data", "application/x-www-form-urlencoded"]
    assert order["required"]
    assert order["content"]["multipart/form-data"]["example"]["amount"] >= 1
    sheet = document["paths"]["/triggers/sheet"]["post"]["requestBody"]["content"]
    assert list(sheet) == ["multipart/form-data"]
    photo = document["components"]["schemas"]["Sheet"]["properties"]["photo"]
    assert (photo["type"], photo["format"]) == ("string", "binary")


def test_the_query_and_the_header_are_parameters(document: Json):
    found = document["paths"]["/triggers/search"]["get"]["parameters"]
    shown = [(each["name"], each["in"], each["required"]) for each in found if "name" in each]
    assert shown == [("q", "query", True), ("x-shop", "header", True), ("tag", "query", False)]
    assert found[0]["description"] == "What to find."
    assert found[2]["explode"]


def test_a_reply_has_the_media_type_that_its_author_names(document: Json):
    csv = document["paths"]["/triggers/search"]["get"]["responses"]["200"]["content"]
    assert csv == {"text/csv": {"schema": {"type": "string"}}}
    pdf = document["paths"]["/triggers/invoice"]["get"]["responses"]["200"]["content"]
    assert pdf == {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}
    with pytest.raises(WorkflowFault, match="text/event-stream"):
        workflow(name="csv", produces="csv")(lambda ctx: None)


def test_the_problems_are_those_that_a_form_or_a_query_can_have(document: Json):
    def codes(path: str, method: str) -> set[str]:
        names = [each["$ref"].rpartition("/")[2] for each in document["paths"][path][method]["responses"].values()
                 if "$ref" in each]  # fmt: skip
        contents = [document["components"]["responses"][name]["content"] for name in names]
        return {code for content in contents for code in content["application/problem+json"]["examples"]}

    assert "invalid-json" not in codes("/triggers/order", "post")
    assert {"invalid-form", "invalid-body", "unsupported-media-type"} <= codes("/triggers/order", "post")
    assert {"invalid-query", "invalid-header"} <= codes("/triggers/search", "get")


def test_the_documents_are_valid_in_each_version_and_the_connector_has_the_fields_of_forms(document: Json):
    validate(document)
    validate(openapi30_of(document)[0])
    made, losses = swagger_of(document)
    validate(made)
    order = made["paths"]["/triggers/order"]["post"]
    assert order["consumes"] == ["multipart/form-data"]
    fields = [
        (each["name"], each["type"], each["required"]) for each in order["parameters"] if each["in"] == "formData"
    ]
    assert fields == [("item", "string", True), ("amount", "integer", False), ("tags", "array", False)]
    sheet = made["paths"]["/triggers/sheet"]["post"]["parameters"]
    files = [each["name"] for each in sheet if each.get("type") == "file"]
    assert files == ["photo", "logo", "pages"]
    assert any("several files" in loss.what.lower() for loss in losses)
    assert made["paths"]["/triggers/invoice"]["get"]["produces"][0] == "application/pdf"


def test_the_connector_sends_forms_as_forms_and_names_the_type_of_replies(document: Json):
    made = connector_of(document, Address("postern.example.com", "/"), NoSignIn(), "Forms").definition
    validate(made)
    sheet = made["paths"]["/triggers/sheet"]["post"]
    assert sheet["consumes"] == ["multipart/form-data"]
    assert [each["type"] for each in sheet["parameters"] if each["in"] == "formData"] == ["string", *["file"] * 3]
    assert made["paths"]["/triggers/search"]["get"]["produces"][0] == "text/csv"
    assert breaches(made, connector_of(document, Address("postern.example.com", "/"), NoSignIn(), "F").properties) == []


def test_the_example_of_a_form_is_a_request_that_fits(triggers: dict[str, Trigger], document: Json):
    requests = example_requests(document)
    assert set(requests) == {"Order", "Sheet", "Search", "Invoice"}
    request = requests["Order"]
    workflow = find(triggers, "POST", b"/triggers/order")[0].workflow
    assert arguments(workflow, (request.body or "").encode(), request.content_type.encode(), {})["order"].amount >= 1
    curl = shlex.split(request.curl("http://127.0.0.1:8080"))
    assert "Content-Type: application/x-www-form-urlencoded" in curl
    search = requests["Search"]
    assert search.path.startswith("/triggers/search?q=")
    assert search.headers[0].startswith("x-shop: ")


def test_the_example_of_a_form_with_files_is_a_request_that_fits(
    triggers: dict[str, Trigger], document: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    request = example_requests(document)["Sheet"]
    assert request.files == {"photo", "logo", "pages"}
    workflow = find(triggers, "POST", b"/triggers/sheet")[0].workflow
    files = [(name, (f"{name}.txt", text.encode())) for name, text in request.parts if name in request.files]
    fields = {name: text for name, text in request.parts if name not in request.files}
    sent = Request("POST", "https://postern.example.com", data=fields, files=files)
    sheet = arguments(workflow, sent.read(), sent.headers["Content-Type"].encode(), {})["sheet"]
    assert (sheet.title, sheet.photo.file.read()) == ("text", b"text")
    curl = shlex.split(request.curl("http://127.0.0.1:8080"))
    assert curl[4:8] == ["--form-string", "title=text", "-F", "photo=text;filename=photo.txt"]
    monkeypatch.chdir(tmp_path)
    for name in request.files:
        Path(f"{name}.txt").write_text("text", "utf-8")
    call = shlex.split(request.call("postern"))
    parts = sent_form([call[place + 1] for place, each in enumerate(call) if each == "--form"], None) or []
    assert {name for name, (filename, _) in parts if filename} == {"photo", "logo"}  # a list may be empty


def test_the_page_shows_forms_files_and_parameters(document: Json):
    html = page(document)
    assert "Query and header parameters" in html
    assert "x-shop (header)" in html
    assert "multipart/form-data" in html
    assert "text/csv" in html
    assert "<td>file</td>" in html
