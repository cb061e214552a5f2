"""The problems that a trigger can return, as responses that operations share."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from postern.access import Anonymous
from postern.authoring.stream_makers import shows_streams
from postern.errors import PROBLEMS, problem
from postern.openapi.operations import Operation, pascal

Json = dict[str, Any]

PROBLEM_JSON = "application/problem+json"
OTHER = "OtherProblem"
"""The response for all other problems: an author's own, and those of the server's protocol."""

_ID = "019b796d-d600-7000-8000-000000000001"


def _always(_: Operation) -> bool:
    return True


def _guarded(operation: Operation) -> bool:
    return operation.guarded


def _checked(operation: Operation) -> bool:
    return operation.guarded or operation.by_signed_url or operation.sender is not None


def _for_people(operation: Operation) -> bool:
    access = operation.workflow.access
    return not isinstance(access, Anonymous) and not access.apps


def _recorded(operation: Operation) -> bool:
    return operation.recorded


def _with_path(operation: Operation) -> bool:
    return bool(operation.path_names)


def _with_body(operation: Operation) -> bool:
    return operation.workflow.body is not None


def _with_typed_body(operation: Operation) -> bool:
    body = operation.workflow.body
    return body is not None and body.adapter is not None


def _with_form(operation: Operation) -> bool:
    return operation.workflow.form is not None


def _with_json(operation: Operation) -> bool:
    return operation.workflow.body is not None and operation.workflow.form is None


def _with_query(operation: Operation) -> bool:
    return any(each.place == "query" for each in operation.workflow.parameters)


def _with_header(operation: Operation) -> bool:
    return any(each.place == "header" for each in operation.workflow.parameters)


def _sends_files(operation: Operation) -> bool:
    return operation.method in ("GET", "HEAD") and shows_streams(operation.workflow.function)


def _durable(operation: Operation) -> bool:
    workflow = operation.workflow  # the claim of a singleton is made with the key too
    return operation.later or (workflow.singleton and workflow.concurrency_key is not None and workflow.secures)


def _limited(operation: Operation) -> bool:
    return operation.workflow.max_concurrency is not None or operation.later or operation.workflow.form is not None


OF_TRIGGERS: Mapping[str, Callable[[Operation], bool]] = {
    "bad-header": _always,
    "invalid-json": _with_json,
    "invalid-form": _with_form,
    "invalid-body": _with_typed_body,
    "invalid-path": _with_path,
    "invalid-query": _with_query,
    "invalid-header": _with_header,
    "bad-idempotency-key": _recorded,
    "unauthenticated": _checked,
    "insecure-transport": _guarded,
    "sign-in-required": _for_people,
    "unknown-trigger": _with_path,
    "reply-not-kept": _recorded,
    "run-cancelled": _recorded,
    "run-in-progress": _recorded,
    "body-too-large": _with_body,
    "too-many-elements": _with_body,
    "range-not-satisfiable": _sends_files,
    "unsupported-media-type": _with_body,
    "idempotency-key-reused": _recorded,
    "consent-required": _always,
    "too-many-runs": _limited,
    "workflow-failed": _always,
    "too-many-crashes": _recorded,
    "internal-error": _always,
    "identity-unavailable": _checked,
    "revocations-unavailable": _guarded,
    "journal-unavailable": _recorded,
    "durable-key-unavailable": _durable,
    "too-many-calls": _always,
    "shutting-down": _always,
    "timed-out": _always,
    "loop-detected": _always,
}
"""Which triggers can return a problem. Problems that are not here come before a trigger is found, or from other
pages, or only where an operator sets limits."""

_WITH_RUN = {
    *("workflow-failed", "timed-out", "run-cancelled", "consent-required", "sign-in-required", "too-many-crashes"),
}
_MEMBERS: Mapping[str, Json] = {
    "invalid-body": {"errors": [{"where": "/start", "message": "Field required"}]},
    "invalid-json": {"errors": [{"where": "", "message": "EOF while parsing an object at line 1 column 1"}]},
    "invalid-form": {"errors": [{"where": "", "message": "it ends before its last boundary"}]},
    "invalid-path": {"errors": [{"where": "/path/room", "message": "Input should be a valid integer"}]},
    "invalid-query": {"errors": [{"where": "/query/page", "message": "Input should be a valid integer"}]},
    "invalid-header": {"errors": [{"where": "/header/x-shop", "message": "Field required"}]},
    "body-too-large": {"limit_bytes": 1048576},
    "too-many-elements": {"limit_elements": 10000},
    "consent-required": {"connect_url": "https://postern.example/connect/tickets"},
}
_HEADERS: Mapping[int, tuple[str, ...]] = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}

PROBLEM_SCHEMA: Json = {
    "title": "Problem",
    "description": "Why there is no result (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "A URI for the kind of problem, with its code."},
        "title": {"type": "string", "description": "The kind of problem in a few words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "code": {"type": "string", "description": "The kind of problem, for programs."},
        "detail": {"type": "string", "description": "What is wrong, for people."},
        "request_id": {"type": "string", "description": "The id of this request, for the operators."},
        "run_id": {"type": "string", "description": "The run that the request started, if there is one."},
        "errors": {
            "type": "array",
            "description": "What is invalid in the request, and where.",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {
                    "where": {"type": "string", "description": "A JSON pointer (RFC 6901)."},
                    "message": {"type": "string"},
                },
            },
        },
        "limit_bytes": {"type": "integer", "description": "The largest allowed body, in bytes."},
        "limit_elements": {
            "type": "integer",
            "description": "The most elements of a body: values in its arrays and objects, at any depth.",
        },
        "connect_url": {
            "type": "string",
            "format": "uri",
            "description": "The page on which this caller can connect what the workflow needs.",
        },
    },
}

HEADERS: Mapping[str, Json] = {
    "X-Run-Id": {
        "description": "The id of the run. Its record is at /runs/{id}.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "The Bearer challenge, with the scope to request (RFC 6750, section 3).",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}},
}


def codes_of(operation: Operation) -> tuple[str, ...]:
    """The codes of the problems that the operation can return, in the order of PROBLEMS."""
    return tuple(code for code in PROBLEMS if code in OF_TRIGGERS and OF_TRIGGERS[code](operation))


def by_status(codes: Iterable[str]) -> dict[int, tuple[str, ...]]:
    """The codes of each status, in ascending order."""
    statuses: dict[int, tuple[str, ...]] = {}
    for code in codes:
        status = PROBLEMS[code].status
        statuses[status] = (*statuses.get(status, ()), code)
    return dict(sorted(statuses.items()))


def response_name(codes: Iterable[str]) -> str:
    """The name of the component for these problems: `InvalidJsonOrInvalidBody`. It depends only on the codes, so it is
    the same in every document."""
    return "Or".join(pascal(code) for code in codes)


def response(codes: tuple[str, ...]) -> Json:
    """The response with these problems, which share one status."""
    made: Json = {"description": " ".join(PROBLEMS[code].detail for code in codes)}
    headers = _HEADERS.get(PROBLEMS[codes[0]].status, ())
    if headers:
        made["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    examples = {code: {"summary": PROBLEMS[code].title, "value": example(code)} for code in codes}
    return made | _content(examples)


def other_response() -> Json:
    """The response with any other problem."""
    document = {
        "type": "urn:postern:problem:workflow-problem",
        "title": "Workflow problem",
        "status": 409,
        "code": "workflow-problem",
        "detail": "already booked",
        "request_id": _ID,
        "run_id": _ID,
    }
    examples = {"workflow-problem": {"summary": "A problem that the workflow reports", "value": document}}
    return {"description": "Any other problem, such as one that the workflow itself reports."} | _content(examples)


def example(code: str) -> Json:
    """The document that a caller gets for this problem."""
    shown = problem(code, **_MEMBERS.get(code, {}))
    return shown.document(_ID, _ID if code in _WITH_RUN else "")


def _content(examples: Json) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"content": {PROBLEM_JSON: {"schema": schema, "examples": examples}}}
