"""Reads the response to a call: a result, a problem, or the location of a later result. All functions are pure."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from postern.authoring.call_result import OF_RUNS, CallError
from postern.connections.calls.targets import Target, origin
from postern.connections.response import in_utf8
from postern.elements import has_more_elements
from postern.errors import TOO_MANY_CALLS
from postern.http_client import URL, InvalidURL, Response
from postern.ids import is_id
from postern.json_parser import parse
from postern.media_types import is_json
from postern.transient_errors import retry_after

MOST_OF_A_PROBLEM = 64 * 1024
"""The largest problem document that is read, in bytes."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""

UNCLEAR = frozenset({0, 408, 429, 500, 502, 503, 504})
"""Statuses of calls that failed for a moment, and may have run there; 0 means no response. A proxy answers 502, 503 and
504 also after it has handed on the request."""
NEVER_RUN = frozenset({501, 505, 508})
"""Statuses above 499 with which a request is rejected."""

_FLOW_RUN = re.compile(r"[0-9]{10,40}(CU[0-9]{1,4})?")
_NAN = "NaN or Infinity, which are not JSON (RFC 8259, section 6)."
_NOT_JSON = "a JSON body that is not valid JSON."
_OPENS = (b"{", b"[")
OPERATION = "Operation-Location"
_PLACES = ("Location", OPERATION, "Azure-AsyncOperation")
"""Headers with the address of a later result. The last two name a document that says how far the operation is
(Microsoft REST API guidelines, long-running operations)."""


class TooManyElements(ValueError):
    """A JSON body with more elements than its reader takes."""


class NotJson(ValueError):
    """A body that is called JSON and is none. The text is our own."""


def value_of(response: Response, most: int) -> Any:
    """The result in a reply: parsed JSON, text, bytes, or None if there is no content. An object or array without a
    Content-Type is JSON too. Raises NotJson, and TooManyElements if JSON has more than `most`."""
    if not response.content or response.status_code in (204, 205):
        return None
    kind = response.headers.get("Content-Type", "").strip()
    if is_json(kind.encode()):
        return _parsed(in_utf8(response), most)
    if kind:
        return response.text.removeprefix("\ufeff") if kind.lower().startswith("text/") else response.content
    document = in_utf8(response)
    try:
        return _parsed(document, most) if document.lstrip().startswith(_OPENS) else response.content
    except NotJson:
        return response.content


def _parsed(document: bytes, most: int) -> Any:
    if has_more_elements(document, most, names=True):
        raise TooManyElements
    try:
        return parse(document)
    except ValueError:
        pass  # the next error is raised without this one, whose text has parts of the document
    try:
        parse(document, allow_inf_nan=True)
    except ValueError:
        wrong = _NOT_JSON
    else:
        wrong = _NAN
    raise NotJson(wrong)


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object in a small response; {} if it is anything else. Without a Content-Type it is JSON too."""
    kind = response.headers.get("Content-Type", "").strip()
    if (kind and not is_json(kind.encode())) or len(response.content) > MOST_OF_A_PROBLEM:
        return {}
    try:
        document = parse(in_utf8(response))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def problem_of(response: Response) -> dict[str, Any]:
    """The error document: a problem (RFC 9457) or Power Automate's `error`; {} if there is none."""
    document = object_of(response)
    return document["error"] if isinstance(document.get("error"), dict) else document


def run_id_of(response: Response, problem: Mapping[str, Any] | None = None) -> str:
    """The id of the run at a Postern, Power Automate or Logic Apps; "" if the response does not have one."""
    candidates = (
        response.headers.get("X-Run-Id"),
        response.headers.get("x-ms-workflow-run-id"),
        (problem or {}).get("run_id"),
    )
    ids = (each for each in candidates if isinstance(each, str) and (is_id(each) or _FLOW_RUN.fullmatch(each)))
    return next(ids, "")


def is_of_postern(response: Response) -> bool:
    """Whether the response is that of a run at a Postern."""
    return is_id(str(response.headers.get("X-Run-Id", "")))


def is_outcome(response: Response, problem: Mapping[str, Any]) -> bool:
    """Whether the error is the outcome of a run at a Postern: Postern's own problem, or one that the author raised,
    which comes with the run's id."""
    code = problem.get("code")
    return code in OF_RUNS or (is_of_postern(response) and code != "run-in-progress")


def may_repeat(error: CallError, *, method: str, keyed: bool) -> bool:
    """Whether to retry a call: it is known that nothing ran, or that a retry does not run it twice."""
    if error.final or error.code == TOO_MANY_CALLS:
        return False
    if _not_run(error) or in_progress(error, keyed=keyed):
        return True
    return error.status in UNCLEAR and (keyed or method in IDEMPOTENT)


def may_have_run(error: CallError, *, method: str) -> bool:
    """Whether a request that should not be carried out twice may have been carried out, although there is no result."""
    if error.final or method in IDEMPOTENT or _not_run(error) or error.code == TOO_MANY_CALLS:
        return False
    return error.status in UNCLEAR or (500 <= error.status <= 599 and error.status not in NEVER_RUN)


def _not_run(error: CallError) -> bool:
    """Whether it is known that nothing ran. A 429 or 503 with a Retry-After is from an application that rejects
    requests; without one it may be a proxy's word on a connection that broke."""
    if not error.sent or error.status == 408:
        return True
    return error.status in (429, 503) and retry_after(error, 0.0) is not None


def in_progress(error: CallError, *, keyed: bool) -> bool:
    """Whether an earlier attempt of this call, whose response was lost, is still running there."""
    return keyed and error.status == 409 and error.code == "run-in-progress"


def location_of(response: Response, requested: str, target: Target) -> str | None:
    """The URL of a later result: absolute, "" if it is not given, None if it is at an origin where the target has no
    results. `requested` is the URL that was called."""
    headers = response.headers
    location = next((str(headers[name]) for name in _PLACES if headers.get(name)), "")
    return address_of(location, requested, target) if location else ""


def address_of(location: str, requested: str, target: Target) -> str | None:
    """The absolute URL of a location in the response of `requested`; None if the target has no results there, or if it
    is none that can be requested."""
    try:
        url = urljoin(requested, location)
        URL(url)
        same = origin(url) in {origin(each) for each in (requested, target.url, *target.results_at)}
    except (ValueError, InvalidURL):
        return None
    return url if same and "@" not in urlsplit(url).netloc else None


def is_operation(response: Response) -> bool:
    """Whether the later result is a document that says how far the operation is."""
    return not response.headers.get("Location") and any(response.headers.get(name) for name in _PLACES)


def is_signed(url: str) -> bool:
    """Whether the URL has its own signature. Logic Apps accepts no token together with it."""
    return any(pair.partition("=")[0] == "sig" for pair in urlsplit(url).query.split("&"))
