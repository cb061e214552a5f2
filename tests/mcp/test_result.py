"""What an agent gets for the reply of a trigger."""

from typing import Any

from mcp_types import CallToolResult

from postern.errors import problem
from postern.mcp.result import problem_result, tool_result
from tests.table import table

URL = "https://postern.example/runs/1/result"


def result(status: int, kind: str, body: bytes, run_id: str | None = "1", schema: bool = False) -> dict[str, Any]:
    made = tool_result(status, kind, body, run_id, has_output_schema=schema, result_url=URL)
    assert CallToolResult.model_validate(made).model_dump(by_alias=True, exclude_none=True, mode="json") == {
        **made,
        "resultType": "complete",
    }
    return made


JSON = "application/json"


@table(
    "kind, body, text, structured",
    [
        (JSON, b'{"a": 1}', '{"a": 1}', {"a": 1}),
        ("application/vnd.x+json; charset=utf-8", b"{}", "{}", {}),
        (JSON, b"[1, 2]", '{"result":[1, 2]}', {"result": [1, 2]}),
        (JSON, b"null", '{"result":null}', {"result": None}),
        (JSON, b'"x"', '{"result":"x"}', {"result": "x"}),
        (JSON, b"0.10", '{"result":0.10}', {"result": 0.1}),
        ("", b"", '{"result":null}', {"result": None}),
        ("text/csv", b"a,b\n", "a,b\n", None),
        ("text/plain; charset=latin-1", b"\xe9", "é", None),
        ("text/plain; charset=nonsense", b"\xff", "�", None),
        ("text/plain; charset=base64", b"x", "x", None),
    ],
)
def test_json_is_structured_and_text_and_other_text_is_text_alone(kind: str, body: bytes, text: str, structured: Any):
    made = result(200, kind, body)
    assert made["content"] == [{"type": "text", "text": text}]
    assert made.get("structuredContent") == structured
    assert (made["isError"], made["_meta"]) == (False, {"postern/run-id": "1"})


@table("kind, body", [("image/png", b"\x89PNG"), ("", b"\x00"), (JSON, b"\xff"), (JSON, b"NaN"), (JSON, b"{")])
def test_anything_else_is_a_link_to_the_recorded_reply(kind: str, body: bytes):
    made = result(200, kind, body)
    link = {"type": "resource_link", "uri": URL, "name": "result", "size": len(body)}
    assert made["content"] == [{**link, "mimeType": kind} if kind else link]
    assert made["isError"] is False
    unrecorded = result(200, kind, body, None)
    assert unrecorded["isError"] is True
    assert "not recorded" in unrecorded["content"][0]["text"]
    assert "_meta" not in unrecorded


@table(
    "status, kind, body", [(409, "application/problem+json", b'{"detail":"full"}'), (500, JSON, b"[]"), (404, "", b"")]
)
def test_a_status_of_an_error_is_an_error_with_the_reply_as_text(status: int, kind: str, body: bytes):
    made = result(status, kind, body)
    assert made == {
        "content": [{"type": "text", "text": body.decode()}],
        "isError": True,
        "_meta": {"postern/run-id": "1"},
    }


def test_a_reply_that_cannot_be_of_the_output_schema_is_an_error():
    """A client would fail at a result without `structuredContent`."""
    assert result(200, "text/plain", b"x", schema=True)["isError"] is True
    assert result(200, JSON, b"{}", schema=True)["isError"] is False


def test_a_problem_is_its_document():
    made = problem_result(problem("invalid-path", errors=[{"where": "/path/a", "message": "no"}]), "req", "run")
    assert made["isError"] is True
    assert made["_meta"] == {"postern/run-id": "run"}
    text = made["content"][0]["text"]
    assert '"code":"invalid-path"' in text
    assert '"request_id":"req"' in text
    assert '"where":"/path/a"' in text
