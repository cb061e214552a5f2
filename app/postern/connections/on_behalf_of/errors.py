"""What Entra's refusal of an exchange on behalf of a caller means, and who has to do what. Pure.

Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow and reference-error-codes.
"""

from collections.abc import Mapping

from postern.authoring.sign_in_required import SignInRequired
from postern.connections.auth.entra_errors import Advice, TokenDetails
from postern.connections.auth.entra_token_request import EntraRefused
from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant

CONSENT_MISSING = "consent"
"""The reason of a ConsentRequired that no page of this server can repair (`grants.reasons`)."""

_AGAIN = "Caller: sign in again and repeat the request with a new token"

SIGN_IN: Mapping[int, Advice] = {
    50076: Advice("needs the caller to sign in with another factor (AADSTS50076)", _AGAIN),
    50079: Advice("needs the caller to set up another factor and sign in with it (AADSTS50079)", _AGAIN),
    50072: Advice("needs the caller to set up another factor and sign in with it (AADSTS50072)", _AGAIN),
    50074: Advice("needs the caller to sign in with another factor (AADSTS50074)", _AGAIN),
    50158: Advice("needs the caller to meet another condition at sign-in (AADSTS50158)", _AGAIN),
    50173: Advice("has no valid sign-in of the caller any more: it was revoked (AADSTS50173)", _AGAIN),
    70043: Advice("has no valid sign-in of the caller any more: it is too old for the tenant (AADSTS70043)", _AGAIN),
    500133: Advice("was called with a token that has expired meanwhile (AADSTS500133)", _AGAIN),
}
"""The caller gets a 401: with the claims challenge, if Entra sent one."""

CONSENT: Mapping[int, Advice] = {
    code: Advice(
        f"needs consent: nobody has granted the application {{0.client_id}} {{0.scope}} for its callers (AADSTS{code})",
        "Administrator of the tenant {0.tenant_id}: grant it (Entra admin center, App registrations, the application, "
        "API permissions, Grant admin consent). A caller cannot do it here",
    )
    for code in (65001, 90094)
}

OTHERS: Mapping[int, Advice] = {
    50013: Advice(
        "cannot use the caller's token: Entra does not accept it for the application {0.client_id} (AADSTS50013)",
        "Operator: check that callers request their tokens for this application, in this tenant. Caller: request a new "
        "token",
    ),
    500131: Advice(
        "cannot use the caller's token: it is for another application than {0.client_id} (AADSTS500131)",
        "Operator: write the client_id of the application that callers request their tokens for (POSTERN_AUDIENCE)",
    ),
    7000114: Advice(
        "is for people: the caller is an application (AADSTS7000114)",
        "Author: let only people call the workflow (apps=False)",
    ),
    50105: Advice(
        "is not for this caller: the application {0.client_id} requires assignment, and the caller has none "
        "(AADSTS50105)",
        "Administrator of the tenant {0.tenant_id}: assign the caller to the application (Enterprise applications, "
        "Users and groups)",
    ),
    50057: Advice(
        "is not for this caller: the caller's account is disabled (AADSTS50057)",
        "Administrator of the tenant {0.tenant_id}: enable the account, if it is meant to be",
    ),
    50034: Advice(
        "is not for this caller: the tenant {0.tenant_id} has no such account any more (AADSTS50034)",
        "Administrator of the tenant {0.tenant_id}: check the caller's account",
    ),
    50020: Advice(
        "is not for this caller: the account is of another tenant, and no guest of {0.tenant_id} (AADSTS50020)",
        "Administrator of the tenant {0.tenant_id}: invite the caller as a guest, if that is meant",
    ),
    53003: Advice(
        "is blocked for this caller by a conditional access policy of the tenant {0.tenant_id} (AADSTS53003)",
        "Administrator of the tenant {0.tenant_id}: the caller's sign-in log names the policy",
    ),
}


class CallerSignsIn(ConnectionFault, SignInRequired):
    """The caller has to sign in again."""

    def __init__(self, entry: str, wrong: str, fix: str, claims: str = "") -> None:
        SignInRequired.__init__(self, entry, f"{entry} {wrong}. {fix}.", claims)
        self.entry = entry
        self.wrong = wrong
        self.fix = fix

    def own(self) -> "CallerSignsIn":
        """The same error, for one of several callers."""
        return CallerSignsIn(self.entry, self.wrong, self.fix, self.claims)


def fault_of(refused: EntraRefused, details: TokenDetails) -> ConnectionFault:
    """The error of an exchange that Entra refused. A claims challenge goes to the caller, whatever the code is
    (Microsoft, "OAuth 2.0 On-Behalf-Of flow", gaining consent and conditional access)."""
    for code in refused.codes:
        if code in SIGN_IN:
            return CallerSignsIn(refused.entry, *SIGN_IN[code].about(details), refused.claims)
        if refused.claims and code in OTHERS:
            return CallerSignsIn(refused.entry, *OTHERS[code].about(details), refused.claims)
        if code in CONSENT:
            return NoGrant(refused.entry, CONSENT_MISSING, *CONSENT[code].about(details))
        if code in OTHERS:
            return ConnectionFault(refused.entry, *OTHERS[code].about(details))
    if refused.claims:
        return CallerSignsIn(
            refused.entry, "needs the caller to meet another condition at sign-in", _AGAIN, refused.claims
        )
    return ConnectionFault(refused.entry, refused.wrong, refused.fix)
