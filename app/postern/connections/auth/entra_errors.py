"""What Entra says no with, and what to mend: one row for each code. Entra's own texts are never passed on, because they
may hold what was sent.

Reference: learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

SECRET_REFUSED = frozenset({7000215, 7000222, 700027})
"""What may be right again once the vault's secret is read anew: it was replaced, there and in Entra."""

TOO_MANY = 429

EXCHANGE_AUDIENCES = {
    "": "api://AzureADTokenExchange",
    "https://login.microsoftonline.us": "api://AzureADTokenExchangeUSGov",
    "https://login.partner.microsoftonline.cn": "api://AzureADTokenExchangeChina",
}
"""What a managed identity's token has to be for where it is a federated credential, by authority; "" is any other
(learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity)."""

_LONGEST_CLAIM = 200
_CODE = re.compile(r"AADSTS([0-9]{4,8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a token was asked for with: names and addresses, never values. `secret` is its name in the Key Vault,
    `expires_on` the vault's date for it, in Unix seconds; `issuer` and `subject` are a federated token's."""

    way: Literal["application", "managed_identity"]
    authority: str
    tenant_id: str
    client_id: str
    scope: str
    secret: str = ""
    expires_on: float | None = None
    like_an_id: bool = False
    thumbprint: str = ""
    issuer: str = ""
    subject: str = ""
    ca_bundle: str = ""

    @property
    def shown(self) -> str:
        """In a line."""
        if self.way == "managed_identity":
            return f"{self.identity} for {self.scope}"
        return f"{self.authority} for {self.scope}, tenant {self.tenant_id}, client id {self.client_id}"

    @property
    def expired_when(self) -> str:
        """When the secret did, as far as the vault knows."""
        return f" (the vault's date for it is {moment(self.expires_on)})" if self.expires_on else ""

    @property
    def bundle_now(self) -> str:
        """Which authorities are trusted, where not the system's."""
        return f"; it is {self.ca_bundle} now" if self.ca_bundle else ""

    @property
    def not_the_id(self) -> str:
        """What often is wrong with a wrong value."""
        mistaken = "which has what looks like the secret's id now" if self.like_an_id else "not the secret's id"
        return f"{mistaken} (Entra shows the value once, when it makes the secret)"

    @property
    def good_until(self) -> str:
        """When the certificate ends."""
        return f" (it is good until {moment(self.expires_on)})" if self.expires_on else ""

    @property
    def server(self) -> str:
        """Who was asked."""
        return "the endpoint of managed identities" if self.way == "managed_identity" else self.authority

    @property
    def identity(self) -> str:
        """Which managed identity."""
        return f"the managed identity {self.client_id}" if self.client_id else "the system-assigned managed identity"


class Told(NamedTuple):
    """What is told: a predicate of the entry, and a sentence without its full stop. In the rows of the tables, `{0}` is
    an Asked."""

    wrong: str
    fix: str

    def about(self, asked: Asked) -> "Told":
        """The row, with its names and addresses."""
        return Told(self.wrong.format(asked), self.fix.format(asked))


FAULTS: Mapping[int, Told] = {
    7000215: Told(
        'signs in with a wrong value in the secret "{0.secret}"',
        'Store the client secret\'s value in "{0.secret}", {0.not_the_id}',
    ),
    7000222: Told(
        'signs in with the secret "{0.secret}", whose client secret has expired{0.expired_when}',
        'Make a new client secret for the application {0.client_id} in Entra, and store its value in "{0.secret}"',
    ),
    700016: Told(
        "names the application {0.client_id}, which the tenant {0.tenant_id} does not know",
        "Compare client_id and tenant_id with the application's page in Entra; in a tenant other than its own it needs "
        "an administrator's consent first",
    ),
    90002: Told(
        "names the tenant {0.tenant_id}, which {0.authority} does not know",
        "Compare tenant_id, or POSTERN_TENANT_ID where the entry has none, with the tenant's page in Entra, and the "
        "cloud with POSTERN_CLOUD",
    ),
    500011: Told(
        "asks for a token with the scope {0.scope}, and the tenant {0.tenant_id} has no such resource",
        "Compare audience with the Application ID URI letter by letter: a slash that is missing or doubled makes it "
        "another one (the scope is the audience and /.default). If it is right, the tenant has no service principal "
        "for it: let an administrator add it",
    ),
    1002012: Told(
        "asks for the scope {0.scope}, which does not end with /.default",
        'Write audience = "…", or scopes = ["…/.default"]; without a user there are no other scopes',
    ),
    70011: Told(
        "asks for the scope {0.scope}, which Entra cannot read",
        'Write audience = "…" with an Application ID URI or client id, or one scope that ends with /.default',
    ),
    700027: Told(
        'signs in with the certificate in the secret "{0.secret}", which the application {0.client_id} does not have, '
        "or which has expired{0.good_until}",
        "Upload the certificate with the thumbprint {0.thumbprint} to the application in Entra, or store the one that "
        'is there in "{0.secret}"',
    ),
    700024: Told(
        "signs in with an assertion that is not valid now",
        "Set the clock of this machine; a federated token's file (AZURE_FEDERATED_TOKEN_FILE) has to be renewed",
    ),
    70021: Told(
        "signs in with a federated token that the application {0.client_id} does not trust: issuer {0.issuer}, "
        "subject {0.subject}",
        "Give the application a federated credential in Entra with exactly this issuer and subject",
    ),
    700213: Told(
        "signs in with a federated token whose subject {0.subject} the application {0.client_id} does not trust "
        "(issuer {0.issuer})",
        "Compare issuer and subject with the application's federated credentials in Entra, letter by letter",
    ),
    700212: Told(
        "signs in with a federated token whose audience the application {0.client_id} does not trust "
        "(issuer {0.issuer}, subject {0.subject})",
        "Compare the audience of the application's federated credential in Entra: it is api://AzureADTokenExchange, "
        "and has the cloud's name at its end in others than the public one",
    ),
    7000112: Told(
        "names the application {0.client_id}, which is disabled in the tenant {0.tenant_id}",
        "Let an administrator enable its sign-in in Entra (Enterprise applications), or use another application",
    ),
    65001: Told(
        "names the application {0.client_id}, which has no consent for {0.scope}",
        "Let an administrator of the tenant {0.tenant_id} grant consent to the application's permissions",
    ),
    650057: Told(
        "asks for {0.scope}, which is not among the permissions of the application {0.client_id}",
        "Add the resource to the application's API permissions in Entra, or mend audience",
    ),
    53003: Told(
        "is kept from signing in by a conditional access policy of the tenant {0.tenant_id}",
        "Let an administrator look at the policy: it has to let the application {0.client_id} in from this network",
    ),
}

NO_ANSWER = Told(
    "cannot sign in: {0.server} could not be reached",
    "Check the network, the firewall and the name resolution of this machine",
)
NO_TOKEN_IN_TIME = Told(
    "cannot sign in: {0.server} gave no token in time",
    "Check the network between this machine and {0.server}",
)
NOT_VERIFIED = Told(
    "cannot sign in: the certificate of {0.server} could not be verified",
    "Set POSTERN_CA_BUNDLE to a PEM file with the authority that signed it, a private one or an inspecting proxy's"
    "{0.bundle_now}",
)
THROTTLED = Told(
    "cannot sign in now: {0.server} has too many requests (429)",
    "Try again later; if it lasts, fewer processes should ask for tokens with the application {0.client_id}",
)
OUTAGE = Told(
    "cannot sign in now: {0.server} does not work",
    "Try again later; Entra's state is at https://azure.status.microsoft",
)
NOT_ENTRA = Told(
    "cannot sign in: what {0.server} answers is not Entra's",
    "Compare POSTERN_AUTHORITY and POSTERN_CLOUD with the cloud that the tenant is in; a proxy may answer in its place",
)
UNUSABLE = Told(
    "cannot sign in: Azure's client does not take the tenant {0.tenant_id} or the authority {0.authority}",
    "Compare tenant_id and POSTERN_AUTHORITY, which has to be https here",
)
UNKNOWN = Told(
    "cannot sign in: {0.authority} refused the application {0.client_id}",
    "Compare the entry with the application's page in Entra; its sign-in log has the reason",
)
NO_MANAGED_IDENTITY = Told(
    "signs in with {0.identity}, and there is none here: managed identities work in Azure only",
    "In Azure, assign an identity to this app or machine; on a laptop, write client_secret in its place",
)
NO_SUCH_IDENTITY = Told(
    "signs in with {0.identity}, which is not assigned here",
    "Assign it to this app or machine in Azure, or write the client_id of one that is assigned",
)
IDENTITY_REFUSED = Told(
    "signs in with {0.identity}, and its endpoint refuses this process",
    "Leave IDENTITY_ENDPOINT and IDENTITY_HEADER as Azure sets them",
)


def told(error: BaseException, status: int, asked: Asked) -> Told:
    """What an error of azure-identity, or of the time limit, comes to. `status` is that of the last answer, 0 where
    there was none."""
    codes = codes_of(error)
    row = next((FAULTS[code] for code in codes if code in FAULTS), None)
    row = row or _by_status(status) or _by_kind(error, status, asked) or _by_code(codes, status)
    return row.about(asked)


def codes_of(error: BaseException) -> tuple[int, ...]:
    """The AADSTS numbers of an error: those of the response's `error_codes`, else what its message names."""
    response: Any = getattr(error, "response", None)
    try:
        codes = response.json()["error_codes"]
        return tuple(code for code in codes if isinstance(code, int))
    except Exception:  # no response, no JSON, no such member
        return tuple(int(code) for code in _CODE.findall(str(error)))


def moment(seconds: float) -> str:
    """A time as people read it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def issuer_and_subject(assertion: str) -> tuple[str, str]:
    """Whose token a federated credential is, for people to compare; nothing is decided by it. Empty where it says
    nothing that can be shown."""
    import jwt

    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except Exception:  # odd claims raise anything
        return "", ""
    return _shown(claims.get("iss")), _shown(claims.get("sub"))


def _shown(claim: Any) -> str:
    return claim[:_LONGEST_CLAIM] if isinstance(claim, str) and claim.isprintable() else ""


def _by_status(status: int) -> Told | None:
    if status == TOO_MANY:
        return THROTTLED
    return OUTAGE if status >= 500 else None


def _by_kind(error: BaseException, status: int, asked: Asked) -> Told | None:
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or "TLS CA certificate bundle" in str(error):
        return NOT_VERIFIED
    if asked.way == "managed_identity":
        return _of_identity(status)
    if isinstance(error, TimeoutError):
        return NO_TOKEN_IN_TIME
    if status:
        return None
    return UNUSABLE if isinstance(error, ValueError) else NO_ANSWER


def _of_identity(status: int) -> Told:
    return {400: NO_SUCH_IDENTITY, 401: IDENTITY_REFUSED}.get(status, NO_MANAGED_IDENTITY)


def _by_code(codes: tuple[int, ...], status: int) -> Told:
    if not codes:
        return UNKNOWN if status in (400, 401, 403) else NOT_ENTRA
    return Told(
        UNKNOWN.wrong + f" (AADSTS{codes[0]})",
        f"Look up what it means at https://login.microsoftonline.com/error?code={codes[0]}",
    )
