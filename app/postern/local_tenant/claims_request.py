"""The parameter `claims` of a request: what the access token has to meet, and what the client can handle.

Reference: learn.microsoft.com/entra/identity-platform/claims-challenge and OpenID Connect Core, section 5.5. Of the
claims, `acrs` (authentication contexts) and `xms_cc` (client capabilities) are honoured; others change nothing here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from postern.local_tenant.errors import EntraError, error_of

STEP_UP = 50076


@dataclass(frozen=True, slots=True)
class Requested:
    """The authentication contexts that the token has to have, and the client's capabilities."""

    contexts: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()

    def claims(self, met: Iterable[str]) -> dict[str, list[str]]:
        """The claims of a token whose sign-in met these contexts."""
        return condition_claims(met, self.capabilities)


def condition_claims(contexts: Iterable[str], capabilities: Iterable[str]) -> dict[str, list[str]]:
    """`acrs` and `xms_cc`, where there are any."""
    found = {"acrs": list(dict.fromkeys(contexts)), "xms_cc": list(dict.fromkeys(capabilities))}
    return {name: values for name, values in found.items() if values}


def requested(text: str | None) -> Requested:
    """What the parameter asks for. Raises EntraError if it is no JSON object."""
    if not text:
        return Requested()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise EntraError(400, "invalid_request", 501461, "The parameter claims is not a JSON object.")
    of_token = document.get("access_token")
    wanted = of_token if isinstance(of_token, dict) else {}
    return Requested(_values(wanted, "acrs"), _values(wanted, "xms_cc"))


def check_met(wanted: Requested, met: Iterable[str], claims: str | None) -> None:
    """Raise EntraError if the token has to have a context that the sign-in did not meet: the person has to sign in
    again, with the same claims."""
    if not set(wanted.contexts) <= set(met):
        text = "The sign-in does not meet the authentication context: sign in again."
        raise EntraError(400, error_of(STEP_UP), STEP_UP, text, claims=claims or "")


def _values(wanted: Mapping[str, Any], name: str) -> tuple[str, ...]:
    of_claim = wanted.get(name)
    if not isinstance(of_claim, dict):
        return ()
    values = of_claim.get("values", [of_claim.get("value")])
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
