"""Why a grant is missing, broken or limited: one row for each reason, with who has to do what.

Codes of a provider decide what is said. What is done follows `error` alone.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """`text` is a predicate of the connection, and `fix` a sentence without its full stop that names the role."""

    text: str
    fix: str


OWNER = "Its owner, or an operator if it is shared,"
"""Who acts in most cases. `said_to` names the one of them."""
YOU = "You"

NOT_CONNECTED = "not-connected"
EXPIRED = "expired"
CANNOT_OPEN = "cannot-open"
"""The reason of a row that does not open. It is not written: its key may come back to the vault."""
NO_REFRESH_TOKEN = "no-refresh-token"  # noqa: S105
"""The reason of a grant that cannot be renewed."""
FEWER_SCOPES = "fewer-scopes"
UNAVAILABLE = "provider-unavailable"
ACCESS_ENDED = "access-ended"
"""The reason of a grant whose owner's access an operator has ended. It is not written: the operator may take that
back."""

_PERSON = "The person must"
"""Who signs in at the provider, in the reasons for which that fails."""
_RECONNECT = f"{OWNER} must connect it again"
_AGAIN = f"{_PERSON} start again from the page of the connection"
_AT_FIRST = f"{_PERSON} start again; if it lasts,"
_ONE_PERSON = "A person who has connected it starts the workflow directly, with a token of their own"

REASONS: dict[str, Reason] = {
    # The grant
    "not-connected": Reason(
        "is not connected",
        f"{OWNER} must sign in at the provider once",
    ),
    "ended": Reason(
        "has ended: the provider no longer accepts its refresh token, which was revoked, replaced or not used for long",
        _RECONNECT,
    ),
    "revoked": Reason(
        "has ended: an administrator, or the person who connected it, revoked the sign-ins (AADSTS50173)",
        _RECONNECT,
    ),
    "access-ended": Reason(
        "is not used, because an operator ended the access of its owner after it was connected",
        f"{_RECONNECT}, or an operator takes the revocation back",
    ),
    "password-changed": Reason(
        "has ended: the password of the person who connected it has changed or has expired (AADSTS50133)", _RECONNECT
    ),
    "expired-unused": Reason("has ended: it was not used for 90 days (AADSTS700082)", _RECONNECT),
    "expired": Reason("has expired, and the provider issued no refresh token for it", _RECONNECT),
    "sign-in-frequency": Reason(
        "has ended: a policy of the tenant requires signing in again after some time (AADSTS70043)",
        f"{_RECONNECT}; if that is needed too often, an administrator of the tenant changes the sign-in frequency",
    ),
    "mfa-required": Reason(
        "needs a second factor of the person who connected it (AADSTS50076 or AADSTS50079)",
        f"{_RECONNECT}, and sign in with the second factor",
    ),
    "conditional-access": Reason(
        "is blocked by a conditional access policy of the tenant (AADSTS53003)",
        "An administrator of the tenant finds the policy in the sign-in log, and allows this application",
    ),
    "interaction-required": Reason("needs its owner to sign in at the provider again", _RECONNECT),
    "consent": Reason(
        "has no consent for its scopes (AADSTS65001 or AADSTS90094)",
        f"{_RECONNECT} and agree; where people may not, an administrator of the tenant gives consent",
    ),
    "declined": Reason("was not connected: the person declined at the provider", f"{_PERSON} start again and agree"),
    "account-disabled": Reason(
        "has ended: the account of the person who connected it is disabled, locked or gone",
        "An administrator of the provider enables the account, or another person connects it",
    ),
    "not-assigned": Reason(
        "cannot be connected by this person, who is not assigned to the application (AADSTS50105)",
        "An administrator of the tenant assigns the person to the enterprise application",
    ),
    "server-stopped": Reason(
        "has ended: the server stopped in the middle of a refresh, and the new tokens were lost", _RECONNECT
    ),
    "no-answer": Reason(
        "has ended: the provider used up its refresh token, and its response with the new tokens did not arrive",
        _RECONNECT,
    ),
    "cannot-open": Reason(
        "has tokens that cannot be opened: its record was changed, or its key is gone from Key Vault",
        "An operator restores the version of the key in Key Vault, or its owner connects it again",
    ),
    "moved": Reason(
        "was connected before its entry in postern.toml was changed to another provider, client or API, which do not "
        "get its tokens",
        f"{OWNER} must disconnect it and connect it again",
    ),
    "restored": Reason(
        "was restored from a backup without its tokens, because the provider may have replaced them since", _RECONNECT
    ),
    # Signing in at the provider
    "other-account": Reason(
        "was not connected: the person signed in with another account or tenant than before",
        f"{_PERSON} sign in with the earlier account, or disconnect it first",
    ),
    "tenant-not-allowed": Reason(
        "was not connected: the account is of a tenant that may not connect it",
        f"{_PERSON} sign in with an account of another tenant, or an operator adds the tenant to tenants",
    ),
    "personal-account": Reason(
        "was not connected: the account is a personal one",
        f'{_PERSON} sign in with an account of an organization, or an operator writes tenant = "common"',
    ),
    "code-used": Reason(
        "was not connected: the authorization code was used before, has expired, or is of another request", _AGAIN
    ),
    "other-issuer": Reason(
        "was not connected: the response came from another provider than the one asked",
        f"{_AT_FIRST} an operator writes issuer in place of the addresses of the entry",
    ),
    "id-token": Reason(
        "was not connected: the provider's ID token was rejected",
        f"{_AT_FIRST} an operator compares the entry with the registration and sets the clock",
    ),
    "no-account": Reason(
        "was not connected: the provider did not say whose account it is",
        f"{_AT_FIRST} an operator compares the scopes of the entry with the provider's page",
    ),
    "instance-url": Reason(
        "was not connected: the provider named a base URL that is not one of its own",
        "An operator compares authorization_url and token_url of the entry with the provider's page",
    ),
    # The entry, and the provider
    "client-rejected": Reason(
        "cannot be used: the provider rejects the client id or the client's secret",
        "An operator corrects client_id, or stores the new secret in Key Vault",
    ),
    "unknown-application": Reason(
        "cannot be used: the tenant does not know the application (AADSTS700016), or it is disabled (AADSTS7000112)",
        "An operator compares client_id and tenant with the registration; in another tenant an administrator gives "
        "consent first",
    ),
    "single-tenant": Reason(
        "cannot be connected: the application is for one tenant (AADSTS50194)",
        "An operator writes this tenant as tenant, or makes the registration one for several tenants",
    ),
    "redirect-uri": Reason(
        "cannot be connected: its redirect URI is not in the registration (AADSTS50011)",
        "An operator adds the redirect URI PUBLIC_URL/connect/NAME/callback to the registration",
    ),
    "wrong-scopes": Reason(
        "cannot be connected: the provider does not know its scopes, or does not give them to this client",
        "An operator corrects scopes, or adds the permissions to the registration",
    ),
    "too-many-requests": Reason(
        "cannot be used now: the provider gets too many requests", "Nobody has to do anything; it is tried later"
    ),
    "provider-unavailable": Reason(
        "cannot be used now: the provider cannot be reached, or has an error of its own",
        "Nobody has to do anything; if it lasts, an operator checks the network and the addresses of the entry",
    ),
    "provider-rejects": Reason(
        "cannot be used: the provider rejects the request",
        "An operator compares the entry with the provider's page; the log of the provider has the reason",
    ),
    # Limits of a grant that is connected
    "fewer-scopes": Reason(
        "has fewer scopes than the entry requests", f"{OWNER} can connect it again and agree to all of them"
    ),
    "no-refresh-token": Reason(
        "has no refresh token and ends when its token expires: the scope offline_access is missing, or the "
        "registration issues none, such as a GitHub OAuth App",
        "An operator adds offline_access to scopes, or uses a GitHub App whose tokens expire; then its owner "
        "connects it again",
    ),
    # Runs that no grant serves
    "application": Reason("has a grant for each person, and an application started this run", _ONE_PERSON),
    "anonymous": Reason(
        "has a grant for each person, and this run has no signed-in caller",
        "The author protects the workflow, so that its caller is known",
    ),
    "called-by-run": Reason("has a grant for each person, and another run started this one", _ONE_PERSON),
    "resubmitted": Reason(
        "has a grant for each person, and this run was resubmitted by another person or with another input",
        "The person who started the first run resubmits it with the same input, or starts a new one",
    ),
    "no-person": Reason("has a grant for each person, and no person started this run", _ONE_PERSON),
    "schedule": Reason(
        "has a grant for each person, and a schedule started this run",
        "The author uses a shared connection: per_user is left out",
    ),
    "on-failure": Reason(
        "has a grant for each person, and this run handles the failure of another one",
        "The author uses a shared connection: per_user is left out",
    ),
    "finding": Reason(
        "has a grant for each person, and a finding started this run",
        "The author uses a shared connection: per_user is left out",
    ),
}
"""The reasons by code. The codes are a contract: they are in the API, in logs and in the table of `GRANTS.md`."""

_OTHER = Reason("cannot be used any longer", _RECONNECT)

OF_AADSTS: Mapping[int, str] = {
    50173: "revoked",
    50133: "password-changed",
    700082: "expired-unused",
    700084: "expired-unused",
    70043: "sign-in-frequency",
    50076: "mfa-required",
    50079: "mfa-required",
    50072: "mfa-required",
    53003: "conditional-access",
    65001: "consent",
    90094: "consent",
    65004: "declined",
    50057: "account-disabled",
    50053: "account-disabled",
    50034: "account-disabled",
    50105: "not-assigned",
    54005: "code-used",
    70008: "code-used",
    501481: "code-used",
    700005: "code-used",
    50011: "redirect-uri",
    700016: "unknown-application",
    7000112: "unknown-application",
    50194: "single-tenant",
    50196: "too-many-requests",
    70011: "wrong-scopes",
    7000215: "client-rejected",
    7000222: "client-rejected",
    700027: "client-rejected",
}
"""The reasons by Entra's numbers (Microsoft, "Microsoft Entra authentication and authorization error codes", which says
to show them and never to act on them)."""

OF_ERROR: Mapping[str, str] = {
    "access_denied": "declined",
    "interaction_required": "interaction-required",
    "invalid_client": "client-rejected",
    "unauthorized_client": "client-rejected",
    "invalid_scope": "wrong-scopes",
    "invalid_target": "wrong-scopes",
    "redirect_uri_mismatch": "redirect-uri",
    "consent_required": "consent",
    "login_required": "interaction-required",
    "invalid_resource": "wrong-scopes",
    "server_error": "provider-unavailable",
    "temporarily_unavailable": "provider-unavailable",
    "slow_down": "too-many-requests",
}
"""The reasons by the error codes of RFC 6749, OpenID Connect and GitHub, for responses without numbers."""


def row_of(reason: str) -> Reason:
    """The row of a code; a general one if it is of another version of this server."""
    return REASONS.get(reason, _OTHER)


def said_to(who: str, fix: str) -> str:
    """A fix with the one person that it is for, such as "You" for the owner."""
    return fix.replace(OWNER, who).replace(_PERSON, f"{who} must")


def reason_of(error: str, numbers: Iterable[int] = (), otherwise: str = "provider-rejects") -> str:
    """The reason for an `error` and Entra's numbers beside it: the first number with a row is the most exact one."""
    found = next((OF_AADSTS[number] for number in numbers if number in OF_AADSTS), None)
    return found or OF_ERROR.get(error, otherwise)
