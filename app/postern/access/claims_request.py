"""What the next token of a caller has to meet, as a claims request of Microsoft's protocol writes it. Pure.

Sources: Microsoft, "Claims challenges, claims requests and client capabilities", "Developer guide to Conditional Access
authentication context" and "How to use Continuous Access Evaluation enabled APIs in your applications".
"""

import json

from postern.access.caller import Caller

HANDLES_CHALLENGES = "cp1"
"""The client capability (`xms_cc`) of clients that handle a claims challenge."""


def auth_context(context: str) -> str:
    """A sign-in that meets this authentication context, such as `c1`."""
    return _request("acrs", context)


def issued_since(not_before: float) -> str:
    """A token that is issued at this time (Unix seconds) or later."""
    return _request("nbf", str(int(not_before)))


def for_client_of(caller: Caller, request: str) -> str:
    """The request, if the client of this caller's token handles challenges; else "", so that it gets a plain 401.
    Only people can sign in again."""
    return request if caller.kind == "user" and HANDLES_CHALLENGES in caller.capabilities else ""


def _request(claim: str, value: str) -> str:
    """Minified JSON."""
    return json.dumps({"access_token": {claim: {"essential": True, "value": value}}}, separators=(",", ":"))
