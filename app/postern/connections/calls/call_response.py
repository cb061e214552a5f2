"""Reads the response to a call: a result, a problem, or the location of a later result. All functions are pure."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from pydantic_core import from_json

from postern.authoring.call_result import OF_RUNS, CallError
from postern.connections.calls.json_elements import has_more_elements
from postern.connections.calls.targets import Target, origin
from postern.errors import TOO_MANY_CALLS
from postern.http_client import Response
from postern.ids import is_id

MOST_OF_A_PROBLEM = 64 * 1024
"""The largest problem document that is read, in bytes."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""

UNANSWERED = frozenset({0, 408, 500, 502, 504})
"""Statuses of calls that may have run there; 0 means no response."""
NOT_TAKEN = frozenset({429, 503})
"""Statuses of calls that did not run there."""

LEAST_WAIT, MOST_WAIT = 1.0, 60.0
"""The shortest and longest time between two polls for a result, in seconds."""
FIRST_WAIT, GROWTH, USUAL_MOST = 2.0, 1.5, 20.0
"""Without a Retry-After: the first wait in seconds, its growth factor, and its limit."""

_FLOW_RUN = re.compile(r"[0-9]{10,40}(CU[0-9]{1,4})?")


class TooManyElements(ValueError):
    """A JSON body with more elements than its reader takes."""


def value_of(response: Response, most: int) -> Any:
    """The result in a reply: parsed JSON, text, bytes, or None if there is no content. Raises ValueError if a JSON body
    is not valid, and TooManyElements if it has more than `most`."""
    content = response.content
    if not content or response.status_code in (204, 205):
        return None
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if _is_json(kind):
        if has_more_elements(content, most):
            raise TooManyElements
        return from_json(content, allow_inf_nan=False, cache_strings="keys")
    return response.text if kind.startswith("text/") else content


def problem_of(response: Response) -> dict[str, Any]:
    """The error document: a problem (RFC 9457) or Power Automate's `error`; {} if there is none."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not _is_json(kind) or len(response.content) > MOST_OF_A_PROBLEM:
        return {}
    try:
        document = from_json(response.content, allow_inf_nan=False)
    except ValueError:
        return {}
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        document = document["error"]
    return document if isinstance(document, dict) else {}


def run_id_of(response: Response, problem: Mapping[str, Any] | None = None) -> str:
    """The id of the run at a Postern, Power Automate or Logic Apps; "" if the response does not have one."""
    candidates = (
        response.headers.get("X-Run-Id"),
        response.headers.get("x-ms-workflow-run-id"),
        (problem or {}).get("run_id"),
    )
    ids = (each for each in candidates if isinstance(each, str) and (is_id(each) or _FLOW_RUN.fullmatch(each)))
    return next(ids, "")


def is_outcome(response: Response, problem: Mapping[str, Any]) -> bool:
    """Whether the error is the outcome of a run at a Postern: Postern's own problem, or one that the author raised,
    which comes with the run's id."""
    code = problem.get("code")
    return code in OF_RUNS or (is_id(str(response.headers.get("X-Run-Id", ""))) and code != "run-in-progress")


def may_repeat(error: CallError, *, method: str, keyed: bool) -> bool:
    """Whether to retry a call: it is known that nothing ran, or that a retry does not run it twice."""
    if error.ran or error.code == TOO_MANY_CALLS:
        return False
    if not error.sent or error.status in NOT_TAKEN or in_progress(error, keyed=keyed):
        return True
    return error.status in UNANSWERED and (keyed or method in IDEMPOTENT)


def in_progress(error: CallError, *, keyed: bool) -> bool:
    """Whether an earlier attempt of this call, whose response was lost, is still running there."""
    return keyed and error.status == 409 and error.code == "run-in-progress"


def location_of(response: Response, requested: str, target: Target) -> str | None:
    """The URL of a 202's later result: absolute, "" if it is not given, None if it is at an origin where the target has
    no results. `requested` is the URL that was called."""
    location = str(response.headers.get("Location", ""))
    if not location:
        return ""
    try:
        url = urljoin(requested, location)
        same = origin(url) in {origin(each) for each in (requested, target.url, *target.results_at)}
    except ValueError:
        return None
    return url if same and "@" not in urlsplit(url).netloc else None


def wait_before(response: Response, poll: int) -> float:
    """Seconds until the next poll (1 is the first), by the response's Retry-After (RFC 9110, section 10.2.3)."""
    after = str(response.headers.get("Retry-After", ""))
    if re.fullmatch(r"[0-9]{1,9}", after):
        return min(max(float(after), LEAST_WAIT), MOST_WAIT)
    return float(min(FIRST_WAIT * GROWTH ** min(poll - 1, 20), USUAL_MOST))


def is_signed(url: str) -> bool:
    """Whether the URL has its own signature. Logic Apps accepts no token together with it."""
    return any(pair.partition("=")[0] == "sig" for pair in urlsplit(url).query.split("&"))


def _is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
