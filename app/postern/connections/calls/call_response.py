"""What an answer to a call says. All of it is pure: a result, a problem, and where a result will be."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from pydantic_core import from_json

from postern.authoring.call_result import OF_RUNS, CallError
from postern.http_client import Response
from postern.ids import is_id

MOST_OF_A_PROBLEM = 64 * 1024
"""Bytes of a problem that are looked at."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""

UNANSWERED = frozenset({0, 408, 500, 502, 504})
"""Statuses of calls that may have run there; 0 is no answer."""
NOT_TAKEN = frozenset({429, 503})
"""Statuses of calls that did not run there."""

LEAST_WAIT, MOST_WAIT = 1.0, 60.0
"""Seconds between two looks whether a result is there."""
FIRST_WAIT, GROWTH, USUAL_MOST = 2.0, 1.5, 20.0
"""Seconds of the first wait where nothing is said, and how the next ones grow."""

_FLOW_RUN = re.compile(r"[0-9]{10,40}(CU[0-9]{1,4})?")
_PORTS = {"http": 80, "https": 443}


def value_of(response: Response) -> Any:
    """The result in a reply: parsed JSON, text, bytes, or None where there is no content. Raises ValueError where what
    is called JSON is none."""
    content = response.content
    if not content or response.status_code in (204, 205):
        return None
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if _is_json(kind):
        return from_json(content, allow_inf_nan=False)
    return response.text if kind.startswith("text/") else content


def problem_of(response: Response) -> dict[str, Any]:
    """What is said of an error: a problem (RFC 9457), or the `error` of Power Automate; {} where nothing is."""
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
    """The run that it came to, of a Postern, of Power Automate or Logic Apps; "" where it is not said in their way."""
    said = (
        response.headers.get("X-Run-Id"),
        response.headers.get("x-ms-workflow-run-id"),
        (problem or {}).get("run_id"),
    )
    ids = (each for each in said if isinstance(each, str) and (is_id(each) or _FLOW_RUN.fullmatch(each)))
    return next(ids, "")


def is_outcome(response: Response, problem: Mapping[str, Any]) -> bool:
    """Whether the error is what a run of a Postern came to: its own problem, or one that its author raised, which has
    the run's id beside it."""
    code = problem.get("code")
    return code in OF_RUNS or (is_id(str(response.headers.get("X-Run-Id", ""))) and code != "run-in-progress")


def may_repeat(error: CallError, *, method: str, keyed: bool) -> bool:
    """Whether to send a call again: where it is known that nothing ran, or that nothing runs twice."""
    if error.ran:
        return False
    if not error.sent or error.status in NOT_TAKEN or in_progress(error, keyed=keyed):
        return True
    return error.status in UNANSWERED and (keyed or method in IDEMPOTENT)


def in_progress(error: CallError, *, keyed: bool) -> bool:
    """Whether this very call runs there since an earlier attempt, whose answer was lost."""
    return keyed and error.status == 409 and error.code == "run-in-progress"


def location_of(response: Response, asked: str) -> str | None:
    """Where the result of a 202 will be: an absolute URL, "" where that is not said, None where it is another origin.
    `asked` is the URL that was called."""
    said = str(response.headers.get("Location", ""))
    if not said:
        return ""
    try:
        url = urljoin(asked, said)
        same = _origin(url) == _origin(asked)
    except ValueError:
        return None
    return url if same and "@" not in urlsplit(url).netloc else None


def wait_before(response: Response, look: int) -> float:
    """Seconds until the next look (1 is the first), as the other side asked (RFC 9110, section 10.2.3)."""
    said = str(response.headers.get("Retry-After", ""))
    if re.fullmatch(r"[0-9]{1,9}", said):
        return min(max(float(said), LEAST_WAIT), MOST_WAIT)
    return float(min(FIRST_WAIT * GROWTH ** min(look - 1, 20), USUAL_MOST))


def is_signed(url: str) -> bool:
    """Whether the URL has a signature of its own, beside which Logic Apps takes no token."""
    return any(pair.partition("=")[0] == "sig" for pair in urlsplit(url).query.split("&"))


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)


def _is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
