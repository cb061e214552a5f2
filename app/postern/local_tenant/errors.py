"""Entra's errors: their codes, and the documents that report them.

Reference: learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_ERRORS: Mapping[int, str] = {
    50013: "invalid_grant",
    50058: "login_required",
    50076: "interaction_required",
    50079: "interaction_required",
    50105: "access_denied",
    50173: "invalid_grant",
    53003: "interaction_required",
    54005: "invalid_grant",
    65001: "consent_required",
    65004: "access_denied",
    500131: "invalid_grant",
    500133: "invalid_grant",
    70043: "invalid_grant",
    700005: "invalid_grant",
    700016: "unauthorized_client",
    700082: "invalid_grant",
    90094: "consent_required",
    7000114: "invalid_grant",
}


class EntraError(Exception):
    """An error response. No text of the request is repeated: it could be a secret. `claims` is the challenge that a new
    token has to meet, "" if there is none."""

    def __init__(self, status: int, error: str, code: int, description: str, *, claims: str = "") -> None:
        super().__init__(f"AADSTS{code}")
        self.status = status
        self.error = error
        self.code = code
        self.description = description
        self.claims = claims


def error_of(code: int) -> str:
    """The `error` of OAuth 2.0 that Entra sends with an AADSTS code of signing in; `invalid_request` with others."""
    return _ERRORS.get(code, "invalid_request")


def error_document(error: EntraError, now: float, authority: str) -> dict[str, Any]:
    """The document of an error. `now` in seconds since 1970."""
    trace_id, correlation_id = str(uuid.uuid4()), str(uuid.uuid4())
    timestamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return {
        "error": error.error,
        "error_description": f"AADSTS{error.code}: {error.description} Trace ID: {trace_id} "
        f"Correlation ID: {correlation_id} Timestamp: {timestamp}",
        "error_codes": [error.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"{authority}/error?code={error.code}",
        **({"suberror": "basic_action", "claims": error.claims} if error.claims else {}),
    }
