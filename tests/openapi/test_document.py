"""The OpenAPI document: valid, complete, and silent about who is allowed."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from postern.errors import PROBLEMS
from postern.openapi.document import Described, openapi_document
from postern.openapi.problems import OF_TRIGGERS
from postern.settings.installation import Installation
from tests.openapi.catalogs import AUDIENCES, HERE, LISA, ODD, OTHER, POSTERN, ROOT, TENANT, triggers_of, write

pytestmark = pytest.mark.slow

Json = dict[str, Any]


@pytest.mark.parametrize("name", ["examples", "odd"])
def test_the_validator_accepts_it(name: str, request: pytest.FixtureRequest):
    document = request.getfixturevalue(name)
    validate(json.loads(json.dumps(document, allow_nan=False)), cls=OpenAPIV31SpecValidator)


def test_an_empty_catalog_has_a_document(tmp_path: Path):
    document = openapi_document({}, Installation())
    validate(deepcopy(document), cls=OpenAPIV31SpecValidator)
    assert document["paths"] == {}
    assert document["servers"] == [{"url": "/"}]
    assert "securitySchemes" not in document["components"]


def test_each_trigger_is_a_path_with_its_methods(examples: Json, odd: Json):
    assert {path: list(methods) for path, methods in (examples["paths"] | odd["paths"]).items()} == {
        "/triggers/book-desk": ["post"],
        "/triggers/book-room/rooms/{room}": ["post"],
        "/triggers/find-people": ["post"],
        "/triggers/hello": ["post"],
        "/triggers/issue-badge": ["post"],
        "/triggers/my-profile": ["post"],
        "/triggers/order-laptop": ["post"],
        "/triggers/payroll": ["post"],
        "/triggers/register-visitor": ["post"],
        "/triggers/request-leave": ["post"],
        "/triggers/whoami": ["post"],
        "/triggers/3d-print": ["post"],
        "/triggers/astray": ["post"],
        "/triggers/bare/{part}": ["post"],
        "/triggers/failing": ["post"],
        "/triggers/loose": ["post"],
        "/triggers/no-schema": ["post"],
        "/triggers/odd/{what}/of/{n}": ["get", "post"],
        "/triggers/plant": ["post"],
    }


def test_an_operation_says_what_it_is_and_what_it_takes(examples: Json):
    operation = examples["paths"]["/triggers/book-room/rooms/{room}"]["post"]
    expected = {
        "operationId": "BookRoom",
        "summary": "Book a meeting room",
        "description": "Book a meeting room.",
        "x-postern-access": "tenant_users",
        "x-postern-asks": ["people only"],
        "parameters": [
            {"name": "room", "in": "path", "required": True, "schema": {"type": "integer"}, "example": 1},
            {"$ref": "#/components/parameters/IdempotencyKey"},
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Booking"},
                    "example": {"start": "2026-03-01T09:00:00Z", "minutes": 15},
                }
            },
        },
        "security": [{"entra": [f"{audience}/.default"]} for audience in AUDIENCES],
    }
    assert {key: operation[key] for key in expected} == expected
    minutes = examples["components"]["schemas"]["Booking"]["properties"]["minutes"]
    assert minutes == {"maximum": 480, "minimum": 15, "title": "Minutes", "type": "integer"}


def test_a_reply_may_be_anything_with_a_status_of_its_own(examples: Json, odd: Json):
    for operation in (
        examples["paths"]["/triggers/book-room/rooms/{room}"]["post"],
        odd["paths"]["/triggers/loose"]["post"],
    ):
        assert operation["responses"]["200"]["content"] == {"application/json": {"schema": {}}}
        assert "2XX" in operation["responses"]
    assert "2XX" not in examples["paths"]["/triggers/hello"]["post"]["responses"]


def test_bodies_are_required_as_the_pipeline_requires_them(odd: Json):
    paths = odd["paths"]
    assert paths["/triggers/odd/{what}/of/{n}"]["get"]["requestBody"]["required"]
    assert paths["/triggers/loose"]["post"]["requestBody"] == {
        "required": False,
        "content": {"application/json": {"schema": {}, "example": {}}},
    }
    assert "requestBody" not in paths["/triggers/bare/{part}"]["post"]


def test_a_part_of_the_path_that_the_function_leaves_out_is_text(odd: Json):
    parameter = odd["paths"]["/triggers/bare/{part}"]["post"]["parameters"][0]
    assert parameter == {
        "name": "part",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "example": "text",
    }


def test_runs_on_record_have_an_id_and_take_a_key(odd: Json):
    for path, recorded in (("/triggers/failing", True), ("/triggers/no-schema", False)):
        operation = odd["paths"][path]["post"]
        assert ("headers" in operation["responses"]["200"]) is recorded
        assert bool(operation["parameters"]) is recorded
        assert ("422" in operation["responses"]) is recorded


def codes(document: Json, path: str) -> set[str]:
    """The codes of the problems that a path can give."""
    responses = document["paths"][path]["post"]["responses"]
    names = [each["$ref"].rpartition("/")[2] for each in responses.values() if "$ref" in each]
    contents = [document["components"]["responses"][name]["content"] for name in names]
    return {code for content in contents for code in content["application/problem+json"]["examples"]}


ALWAYS = {"workflow-problem", "bad-header", "workflow-failed", "internal-error", "shutting-down", "timed-out"} | {
    "loop-detected",
    "too-many-calls",
    "consent-required",
}
GUARDED = {"unauthenticated", "identity-unavailable", "revocations-unavailable"} | {"insecure-transport"} & set(
    PROBLEMS
)
RECORDED = {"bad-idempotency-key", "reply-not-kept", "run-cancelled", "run-in-progress", "idempotency-key-reused"} | {
    *("journal-unavailable", "too-many-crashes"),
}
BODY = {"invalid-json", "body-too-large", "too-many-elements", "unsupported-media-type"}
TYPED = BODY | {"invalid-body"}
PATH = {"invalid-path", "unknown-trigger"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/triggers/no-schema", ALWAYS | GUARDED | TYPED),
        ("/triggers/loose", ALWAYS | GUARDED | RECORDED | BODY),
        ("/triggers/bare/{part}", ALWAYS | GUARDED | RECORDED | PATH),
        ("/triggers/plant", ALWAYS | RECORDED | TYPED),
        ("/triggers/odd/{what}/of/{n}", ALWAYS | RECORDED | TYPED | PATH | {"too-many-runs"}),
    ],
)
def test_a_trigger_has_the_problems_that_it_can_give(odd: Json, path: str, expected: set[str]):
    assert codes(odd, path) == expected


ELSEWHERE = {
    *("bad-request", "bad-filter", "forbidden", "unknown-run", "not-found", "method-not-allowed", "request-timeout"),
    *(
        "cannot-resubmit",
        "cannot-resume",
        "run-ended",
        "uri-too-long",
        "headers-too-large",
        "unsupported-transfer-coding",
    ),
    *("misdirected-request", "unknown-connection", "connection-shared"),
    *("approval-decided", "unknown-approval", "self-approval", "too-many-signals", "run-not-durable"),
    *("link-exists", "workflow-not-signed", "signing-key-unavailable", "rate-limited", "unknown-finding"),
    *("unknown-revocation", "confirmation-required", "too-many-revocations"),
    *("run-not-durable", "too-many-signals", "unknown-approval", "approval-decided", "self-approval"),
}
"""Problems of other pages, of requests that reach no trigger, and of limits that an operator sets."""


def test_every_problem_is_known_to_be_of_triggers_or_of_others():
    assert set(PROBLEMS) - set(OF_TRIGGERS) == ELSEWHERE


def test_problems_are_shown_as_they_are_answered(examples: Json):
    name = examples["paths"]["/triggers/whoami"]["post"]["responses"]["401"]["$ref"].rpartition("/")[2]
    response = examples["components"]["responses"][name]
    shown = response["content"]["application/problem+json"]
    assert shown["schema"] == {"$ref": "#/components/schemas/Problem"}
    value = shown["examples"]["unauthenticated"]["value"]
    assert set(examples["components"]["schemas"]["Problem"]["required"]) <= set(value)
    assert (value["status"], value["code"]) == (401, "unauthenticated")
    assert list(response["headers"]) == ["WWW-Authenticate"]


def test_tokens_are_requested_from_the_tenant_of_the_settings(examples: Json, odd: Json):
    scheme = examples["components"]["securitySchemes"]["entra"]
    place = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0"
    assert set(scheme["flows"]) == {"authorizationCode", "clientCredentials"}
    assert scheme["flows"]["authorizationCode"]["authorizationUrl"] == f"{place}/authorize"
    for flow in scheme["flows"].values():
        assert flow["tokenUrl"] == f"{place}/token"
        assert list(flow["scopes"]) == [f"{audience}/.default" for audience in AUDIENCES]
    assert odd["paths"]["/triggers/loose"]["post"]["security"] == [{"entra": ["api://other/.default"]}]
    assert examples["paths"]["/triggers/hello"]["post"]["security"] == []


def test_it_never_says_who_may_come_in_or_where_it_is_written(examples: Json, odd: Json):
    text = json.dumps([examples, odd["paths"]])
    for never in (LISA, POSTERN, "lisa", "Lisa", str(ROOT), ".py", "workflows/"):
        assert never not in text, never


def test_the_view_of_some_workflows_holds_nothing_of_the_others(tmp_path: Path, own_modules: None):
    described = Described(triggers_of(write(tmp_path / "odd", odd=ODD, other=OTHER)), HERE)
    whole, part = described.document(), described.document({"plant"})
    validate(deepcopy(part), cls=OpenAPIV31SpecValidator)
    assert list(part["paths"]) == ["/triggers/plant"]
    assert list(part["components"]["schemas"]) == ["Problem", "workflows__other__Tree"]
    assert "securitySchemes" not in part["components"]
    assert part["paths"]["/triggers/plant"] == whole["paths"]["/triggers/plant"]
    assert part["info"]["version"] != whole["info"]["version"]


def test_it_is_the_same_each_time_and_in_order(odd: Json, tmp_path: Path, own_modules: None):
    again = openapi_document(triggers_of(write(tmp_path / "odd", odd=ODD, other=OTHER)), HERE)
    assert json.dumps(again) == json.dumps(odd)
    assert list(odd["paths"]) == sorted(odd["paths"])


LONG = """
from postern import Context, tenant_users, workflow

@workflow(durable=True)
async def long(ctx: Context, name: str) -> str:
    return name
"""


def test_a_durable_trigger_has_a_202_with_the_place_of_its_result(tmp_path: Path):
    write(tmp_path, long=LONG)
    document = openapi_document(triggers_of(tmp_path), HERE)
    validate(deepcopy(document), cls=OpenAPIV31SpecValidator)
    operation = document["paths"]["/triggers/long"]["post"]
    accepted = operation["responses"]["202"]
    assert set(accepted["headers"]) == {"X-Run-Id", "Location", "Retry-After", "Preference-Applied"}
    assert accepted["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Accepted"}
    assert {"$ref": "#/components/parameters/Prefer"} in operation["parameters"]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"type": "string"}
    assert {"durable-key-unavailable", "too-many-runs"} <= codes(document, "/triggers/long")
