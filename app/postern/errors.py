"""What a caller may see of an error, and what stays in the log.

Every error that leaves the server is a Problem (RFC 9457). Its public text is constant: it comes from the table
below, never from an exception, a header or a body. The private `reason` goes to the log and nowhere else.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_FRAMING_HEADERS = {"connection", "content-length", "date", "server", "transfer-encoding", "trailer", "upgrade"}


Headers = Mapping[str, str | list[str] | tuple[str, ...]]
"""Header fields by name. A field that is sent several times, as Set-Cookie may be, has a list of values."""
Pairs = Iterable[tuple[str, str]]


def checked_headers(headers: Headers | Pairs | None) -> dict[str, str | list[str] | tuple[str, ...]]:
    """The header fields that an author wants to send, by name or as pairs. Raises ValueError for fields that frame the
    message, which the server sets itself, and for a line break in a value, by which a caller could write headers
    (CWE-113)."""
    if headers is not None and not isinstance(headers, Mapping):
        headers = _by_name(headers)
    for name, value in (headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _FRAMING_HEADERS:
            raise ValueError(f"{name!r} is not a header that a workflow may set")
        several = isinstance(value, list | tuple) and name.lower() != "content-type"
        if not all(isinstance(each, str) and _HEADER_VALUE.fullmatch(each) for each in (value if several else [value])):
            raise ValueError(f"the value of the header {name} is not a string of characters allowed in a header")
    return dict(headers or {})


def _by_name(pairs: Pairs) -> Headers:
    """Pairs of names and values as fields by name, in whatever case each name is written."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), (name, []))[1].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.values()}


def header_lines(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Header fields as they are sent, one for each value."""
    return [
        (name.lower().encode("ascii"), each.encode("latin-1", "replace"))
        for name, value in headers.items()
        for each in ([value] if isinstance(value, str) else value)
    ]


TOO_MANY_CALLS = "too-many-calls"
"""The code of a run that failed because too many runs wait for their calls. The runs that called it fail likewise."""


CONSENT_REQUIRED = "consent-required"
"""The code of a run that failed because a person has to connect something first. The runs that called it fail
likewise."""


TOO_MANY_CRASHES = "too-many-crashes"
"""The code of a durable run during which too many server processes died."""


class ProblemType(NamedTuple):
    """One row of the table of problems: the meaning of a `code`."""

    status: int
    title: str
    detail: str


PROBLEMS: Mapping[str, ProblemType] = {
    "bad-request": ProblemType(400, "Bad request", "The request is not well-formed HTTP."),
    "bad-header": ProblemType(400, "Bad header", "A header of the request could not be understood."),
    "invalid-json": ProblemType(400, "Invalid JSON", "The body is not valid JSON in UTF-8."),
    "invalid-body": ProblemType(400, "Invalid body", "The body does not match the type that the workflow expects."),
    "invalid-form": ProblemType(400, "Invalid form", "The body cannot be read as a form: see the errors."),
    "invalid-header": ProblemType(
        400, "Invalid header", "A header field does not match the type that the workflow expects."
    ),
    "invalid-path": ProblemType(
        400, "Invalid path", "A part of the path does not match the type that the workflow expects."
    ),
    "invalid-query": ProblemType(
        400, "Invalid query", "A parameter of the query does not match the type that the workflow expects."
    ),
    "bad-filter": ProblemType(400, "Bad filter", "A filter or the cursor is not valid: see the errors."),
    "bad-idempotency-key": ProblemType(
        400,
        "Bad idempotency key",
        "Idempotency-Key must have 1 to 255 visible characters, and the workflow must record its runs.",
    ),
    "unauthenticated": ProblemType(
        401,
        "Unauthenticated",
        "A valid access token for this trigger is required in the Authorization header.",
    ),
    "insecure-transport": ProblemType(401, "Insecure transport", "Access tokens are accepted over https only."),
    "sign-in-required": ProblemType(
        401,
        "Sign-in required",
        "The workflow acts on your behalf, and Entra requires that you sign in again first: request a new token, with "
        "the claims of WWW-Authenticate if it has any.",
    ),
    "forbidden": ProblemType(403, "Forbidden", "Operator role required."),
    "self-approval": ProblemType(
        403,
        "Self-approval",
        "You caused this run, so another person has to decide: the author allows no self-approval.",
    ),
    "unknown-trigger": ProblemType(404, "Unknown trigger", "There is no trigger at this URL."),
    "unknown-run": ProblemType(
        404, "Unknown run", "There is no such run, or it is not yours: send the token of the caller who started it."
    ),
    "unknown-approval": ProblemType(
        404, "Unknown approval", "The run waits for no such decision, or it is not yours: list those that wait for you."
    ),
    "unknown-connection": ProblemType(
        404,
        "Unknown connection",
        "There is no such connection that a person connects, or it is not yours. Operators connect shared ones.",
    ),
    "unknown-finding": ProblemType(404, "Unknown finding", "There is no such finding."),
    "unknown-revocation": ProblemType(404, "Unknown revocation", "There is no such revocation."),
    "not-found": ProblemType(404, "Not found", "There is nothing at this URL."),
    "method-not-allowed": ProblemType(
        405, "Method not allowed", "This URL does not accept this method: see the Allow header."
    ),
    "request-timeout": ProblemType(408, "Request timeout", "The request arrived too slowly."),
    "approval-decided": ProblemType(
        409, "Approval decided", "The decision was made already, or the time for it is over: the first one stands."
    ),
    "cannot-resume": ProblemType(409, "Cannot resume", "This run cannot be resumed."),
    "cannot-resubmit": ProblemType(409, "Cannot resubmit", "This run cannot be started again from its record."),
    "confirmation-required": ProblemType(
        409, "Confirmation required", "This may shut out the last operator: send `confirm` to do it nevertheless."
    ),
    "too-many-revocations": ProblemType(409, "Too many revocations", "Too many revocations are in effect."),
    "connection-shared": ProblemType(
        409, "Connection shared", "All people share this connection: an operator connects it, without a link."
    ),
    "link-exists": ProblemType(
        409, "Link exists", "The workflow has a signed URL of this id, or had one that could be used again."
    ),
    "workflow-not-signed": ProblemType(
        409, "Workflow not signed", "The workflow takes no signed URLs: its access mode is not anonymous(signed=True)."
    ),
    "reply-not-kept": ProblemType(409, "Reply not kept", "The run has ended, but its complete reply was not kept."),
    "run-cancelled": ProblemType(409, "Run cancelled", "The run was cancelled before it ended."),
    "run-ended": ProblemType(409, "Run ended", "The run has ended already."),
    "run-not-durable": ProblemType(
        409, "Run not durable", "The run is not durable, so it waits for no signal and no decision."
    ),
    "run-in-progress": ProblemType(409, "Run in progress", "The run of this idempotency key has not ended yet."),
    "body-too-large": ProblemType(413, "Body too large", "The body is larger than this trigger accepts."),
    "too-many-elements": ProblemType(
        413, "Too many elements", "The body has more elements than this trigger accepts: see limit_elements."
    ),
    "uri-too-long": ProblemType(414, "URI too long", "The URL is longer than this server accepts."),
    "unsupported-media-type": ProblemType(
        415, "Unsupported media type", "The body is of a type that this trigger does not accept, or compressed."
    ),
    "range-not-satisfiable": ProblemType(416, "Range not satisfiable", "The file has no bytes in the requested range."),
    "misdirected-request": ProblemType(
        421, "Misdirected request", "This server does not answer browsers under this name: use its public URL."
    ),
    "idempotency-key-reused": ProblemType(
        422, "Idempotency key reused", "This idempotency key was used for another request."
    ),
    CONSENT_REQUIRED: ProblemType(
        424, "Consent required", "A connection of the workflow has to be connected by a person first."
    ),
    "too-many-runs": ProblemType(
        429, "Too many runs", "This workflow already has as many concurrent runs as it allows."
    ),
    "too-many-signals": ProblemType(
        429,
        "Too many signals",
        "The run has as many signals as it takes: 100, and 1 MiB of bodies. A sender of few signals gets some more.",
    ),
    "rate-limited": ProblemType(
        429, "Rate limited", "More requests came than this server accepts: wait as long as Retry-After says."
    ),
    "headers-too-large": ProblemType(431, "Headers too large", "The headers are larger than this server accepts."),
    "workflow-failed": ProblemType(500, "Workflow failed", "The workflow ended with an error."),
    TOO_MANY_CRASHES: ProblemType(
        500, "Too many crashes", "Server processes died five times while this run was executing: it is not run again."
    ),
    "internal-error": ProblemType(500, "Internal error", "The server failed to handle the request."),
    "unsupported-transfer-coding": ProblemType(
        501, "Unsupported transfer coding", "The only transfer coding that this server supports is chunked."
    ),
    "identity-unavailable": ProblemType(
        503, "Identity unavailable", "The tenant's signing keys cannot be reached at the moment."
    ),
    "revocations-unavailable": ProblemType(
        503,
        "Revocations unavailable",
        "This server cannot read at the moment whose access has ended, so it accepts no access token.",
    ),
    "signing-key-unavailable": ProblemType(
        503, "Signing key unavailable", "The key that signs URLs of this workflow cannot be read."
    ),
    "durable-key-unavailable": ProblemType(
        503, "Durable key unavailable", "The key that seals durable runs cannot be read at the moment."
    ),
    "journal-unavailable": ProblemType(
        503, "Journal unavailable", "Runs cannot be recorded at the moment, and no run starts without a record."
    ),
    TOO_MANY_CALLS: ProblemType(
        503, "Too many calls", "Too many runs wait for their calls to other workflows at the moment."
    ),
    "shutting-down": ProblemType(503, "Shutting down", "This server is stopping and starts no new runs."),
    "timed-out": ProblemType(504, "Timed out", "The workflow did not end within its timeout."),
    "loop-detected": ProblemType(
        508, "Loop detected", "The chain of calls is more than 16 calls deep: workflows call one another in a circle."
    ),
}


class Problem(Exception):
    """An error that the caller is meant to see. Authors raise it: `raise Problem(409, "already booked")`.

    `status` is an HTTP status from 400 to 599. `detail`, `title`, `code`, `headers` and the extra `members` are
    shown to the caller; `reason` is written to the log only.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        code: str = "workflow-problem",
        title: str = "",
        headers: Headers | None = None,
        members: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        if not isinstance(status, int):
            raise TypeError(
                f'a Problem begins with its status, not with a {type(status).__name__}: Problem(409, "...")'
            )
        if not 400 <= status <= 599:
            raise ValueError(f"a Problem has a status from 400 to 599, not {status}: return a Reply instead")
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.title = title
        self.headers = checked_headers(headers)
        self.members = dict(members or {})
        self.reason = reason

    def document(self, request_id: str, run_id: str = "") -> dict[str, Any]:
        """The members of its `application/problem+json` document (RFC 9457, section 3)."""
        document: dict[str, Any] = {
            "type": f"urn:postern:problem:{self.code}",
            "title": self.title or self.code.replace("-", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        }
        if run_id:
            document["run_id"] = run_id
        for name, value in self.members.items():
            document.setdefault(name, value)
        return document


class UserFault(Exception):
    """What the user of a command can fix. The message says how; commands print it without a traceback."""


class DatabaseFault(UserFault):
    """The database of POSTERN_DATABASE_URL cannot be used. The message says why and how to fix it. It contains no URL,
    because a URL may contain a password."""


def problem(
    code: str,
    *,
    reason: str = "",
    detail: str = "",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Problem:
    """The Problem of the table that has this `code`. `detail` replaces the table's sentence with a more specific
    one."""
    row = PROBLEMS[code]
    made = Problem(row.status, detail or row.detail, code=code, title=row.title, members=members, reason=reason)
    made.headers = dict(headers or {})  # the server may set headers that frame the message, as Connection: close
    return made
