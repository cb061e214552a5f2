"""The header fields of tunnels, and what agents answer for each reason."""

from postern.tunnels import Reason

__all__ = ["ENTRY_HEADER", "REASON_HEADER", "STATUS", "TLS_HEADER", "Reason"]

REASON_HEADER = "postern-reason"
"""Why a tunnel was refused: a `Reason`."""

ENTRY_HEADER = "postern-entry"
"""The entry of `postern.toml` that a tunnel is for."""

TLS_HEADER = "postern-tls"
"""`gateway` where TLS ends at the agent; left out for a tunnel."""

STATUS = {
    Reason.TARGET_NOT_ALLOWED: 403,
    Reason.REQUEST_NOT_ALLOWED: 403,
    Reason.ADDRESS_DENIED: 403,
    Reason.NAME_NOT_FOUND: 502,
    Reason.TARGET_REFUSED: 502,
    Reason.TARGET_TIMEOUT: 504,
}
"""The status that an agent answers with. A 403 is final; 5xx goes to another agent of the gateway."""
