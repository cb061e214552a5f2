"""Why a tunnel was refused, as the header `postern-reason` says it."""

from enum import StrEnum

REASON_HEADER = "postern-reason"
ENTRY_HEADER = "postern-entry"
"""The entry of `postern.toml` that a tunnel is for."""

TLS_HEADER = "postern-tls"
"""`gateway` where TLS ends at the agent; left out for a tunnel."""


class Reason(StrEnum):
    """A stable word for each failure of a tunnel."""

    NO_AGENT = "no-agent"
    TARGET_NOT_ALLOWED = "target-not-allowed"
    REQUEST_NOT_ALLOWED = "request-not-allowed"
    ADDRESS_DENIED = "address-denied"
    NAME_NOT_FOUND = "name-not-found"
    TARGET_REFUSED = "target-refused"
    TARGET_TIMEOUT = "target-timeout"
    AGENT_LOST = "agent-lost"


STATUS = {
    Reason.TARGET_NOT_ALLOWED: 403,
    Reason.REQUEST_NOT_ALLOWED: 403,
    Reason.ADDRESS_DENIED: 403,
    Reason.NAME_NOT_FOUND: 502,
    Reason.TARGET_REFUSED: 502,
    Reason.TARGET_TIMEOUT: 504,
}
"""The status that an agent answers with. A 403 is final; 5xx goes to another agent of the gateway."""
