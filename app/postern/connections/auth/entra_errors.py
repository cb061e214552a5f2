"""Entra's error codes, with the problem and the fix of each. Entra's own texts are never passed on, because they may
repeat what was sent.

Reference: learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from postern.connections.unreached import by_proxy, is_untrusted, of_certificate

SECRET_REFUSED = frozenset({7000215, 7000222, 700027})
"""Codes that may pass after the secret is read from the vault again, because it was replaced there and in Entra."""

TOO_MANY = 429

EXCHANGE_AUDIENCES = {
    "": "api://AzureADTokenExchange",
    "https://login.microsoftonline.us": "api://AzureADTokenExchangeUSGov",
    "https://login.partner.microsoftonline.cn": "api://AzureADTokenExchangeChina",
}
"""The audience of a managed identity's token that is used as a federated credential, by authority; "" is any other
(learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity)."""

_LONGEST_CLAIM = 200
_LONGEST_CHALLENGE = 4000
_CODE = re.compile(r"AADSTS([0-9]{4,8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDetails:
    """The names and addresses of a token request, never values. `secret` is its name in the Key Vault. `expires_on` is
    the vault's expiry date for it, in Unix seconds. `issuer` and `subject` are those of a federated token.
    `endpoint`: the environment names the endpoint of managed identities (IDENTITY_ENDPOINT), so there is one. `claims`
    are what an API asked for, which nothing shows."""

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
    endpoint: bool = False
    claims: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The request in one line."""
        if self.way == "managed_identity":
            return f"{self.identity} for {self.scope}"
        return f"{self.authority} for {self.scope}, tenant {self.tenant_id}, client id {self.client_id}"

    @property
    def expired_when(self) -> str:
        """When the secret expired, according to the vault."""
        return f" (expiry date in the vault: {moment(self.expires_on)})" if self.expires_on else ""

    @property
    def bundle_now(self) -> str:
        """The file of trusted authorities, if it is not the system's."""
        return f"; its current value is {self.ca_bundle}" if self.ca_bundle else ""

    @property
    def not_the_id(self) -> str:
        """A frequent mistake: the secret's id was stored in place of its value."""
        mistaken = "which now holds what looks like the secret's id" if self.like_an_id else "not the secret's id"
        return f"{mistaken} (Entra shows the value once, when it makes the secret)"

    @property
    def good_until(self) -> str:
        """When the certificate expires."""
        return f" (it is valid until {moment(self.expires_on)})" if self.expires_on else ""

    @property
    def server(self) -> str:
        """The endpoint that the request was sent to."""
        return "the managed identity endpoint" if self.way == "managed_identity" else self.authority

    @property
    def identity(self) -> str:
        """The managed identity."""
        return f"the managed identity {self.client_id}" if self.client_id else "the system-assigned managed identity"


class Advice(NamedTuple):
    """A problem, as a predicate of the entry, and its fix, a sentence without its full stop. In the rows of the tables,
    `{0}` is an TokenDetails."""

    wrong: str
    fix: str

    def about(self, details: TokenDetails) -> "Advice":
        """The row with its names and addresses filled in."""
        return Advice(self.wrong.format(details), self.fix.format(details))


FAULTS: Mapping[int, Advice] = {
    7000215: Advice(
        'signs in with a wrong value in the secret "{0.secret}"',
        'Store the client secret\'s value in "{0.secret}", {0.not_the_id}',
    ),
    7000222: Advice(
        'signs in with the secret "{0.secret}", whose client secret has expired{0.expired_when}',
        'Make a new client secret for the application {0.client_id} in Entra, and store its value in "{0.secret}"',
    ),
    700016: Advice(
        "names the application {0.client_id}, which the tenant {0.tenant_id} does not know",
        "Compare client_id and tenant_id with the application's page in Entra; in a tenant other than its own it needs "
        "an administrator's consent first",
    ),
    90002: Advice(
        "names the tenant {0.tenant_id}, which {0.authority} does not know",
        "Compare tenant_id, or POSTERN_TENANT_ID where the entry has none, with the tenant's page in Entra, and the "
        "cloud with POSTERN_CLOUD",
    ),
    500011: Advice(
        "requests a token with the scope {0.scope}, but the tenant {0.tenant_id} has no such resource",
        "Compare audience with the Application ID URI letter by letter: a missing or doubled slash names another "
        "resource (the scope is the audience and /.default). If it is right, the tenant has no service principal "
        "for it: let an administrator add it",
    ),
    1002012: Advice(
        "requests the scope {0.scope}, which does not end with /.default",
        'Write audience = "…", or scopes = ["…/.default"]; without a user there are no other scopes',
    ),
    70011: Advice(
        "requests the scope {0.scope}, which Entra cannot read",
        'Write audience = "…" with an Application ID URI or client id, or one scope that ends with /.default',
    ),
    700027: Advice(
        'signs in with the certificate in the secret "{0.secret}", which the application {0.client_id} does not have, '
        "or which has expired{0.good_until}",
        "Upload the certificate with the thumbprint {0.thumbprint} to the application in Entra, or store the "
        'application\'s certificate in "{0.secret}"',
    ),
    700024: Advice(
        "signs in with an assertion that is not valid now",
        "Set the clock of this machine, and check that the federated token's file (AZURE_FEDERATED_TOKEN_FILE) is "
        "renewed",
    ),
    70021: Advice(
        "signs in with a federated token that the application {0.client_id} does not trust: issuer {0.issuer}, "
        "subject {0.subject}",
        "Give the application a federated credential in Entra with exactly this issuer and subject",
    ),
    700213: Advice(
        "signs in with a federated token whose subject {0.subject} the application {0.client_id} does not trust "
        "(issuer {0.issuer})",
        "Compare issuer and subject with the application's federated credentials in Entra, letter by letter",
    ),
    700212: Advice(
        "signs in with a federated token whose audience the application {0.client_id} does not trust "
        "(issuer {0.issuer}, subject {0.subject})",
        "Compare the audience of the application's federated credential in Entra: it is api://AzureADTokenExchange in "
        "the public cloud, and ends with the cloud's name in the others",
    ),
    7000112: Advice(
        "names the application {0.client_id}, which is disabled in the tenant {0.tenant_id}",
        "Let an administrator enable its sign-in in Entra (Enterprise applications), or use another application",
    ),
    65001: Advice(
        "names the application {0.client_id}, which has no consent for {0.scope}",
        "Let an administrator of the tenant {0.tenant_id} grant consent to the application's permissions",
    ),
    650057: Advice(
        "requests {0.scope}, which is not among the permissions of the application {0.client_id}",
        "Add the resource to the application's API permissions in Entra, or correct audience",
    ),
    53003: Advice(
        "cannot sign in because of a conditional access policy of the tenant {0.tenant_id}",
        "Let an administrator check the policy: it has to allow the application {0.client_id} from this network",
    ),
}

NO_ANSWER = Advice(
    "cannot sign in: {0.server} could not be reached",
    "Check the network, the firewall and the name resolution of this machine",
)
NO_TOKEN_IN_TIME = Advice(
    "cannot sign in: {0.server} gave no token in time",
    "Check the network between this machine and {0.server}",
)
NOT_VERIFIED = Advice(
    "cannot sign in: the certificate of {0.server} could not be verified",
    "Set POSTERN_CA_BUNDLE to a PEM file with the authority that signed it, a private one or an inspecting proxy's"
    "{0.bundle_now}",
)
THROTTLED = Advice(
    "cannot sign in now: {0.server} gets too many requests (429)",
    "Try again later; if it lasts, let fewer processes request tokens with the application {0.client_id}",
)
OUTAGE = Advice(
    "cannot sign in now: {0.server} has an outage",
    "Try again later; Entra's state is at https://azure.status.microsoft",
)
NOT_ENTRA = Advice(
    "cannot sign in: the response from {0.server} is not Entra's",
    "Compare POSTERN_AUTHORITY and POSTERN_CLOUD with the cloud that the tenant is in; a firewall or proxy may have "
    "responded in its place",
)
UNUSABLE = Advice(
    "cannot sign in: Azure's client does not accept the tenant {0.tenant_id} or the authority {0.authority}",
    "Compare tenant_id and POSTERN_AUTHORITY, which has to be https here",
)
UNKNOWN = Advice(
    "cannot sign in: {0.authority} rejected the application {0.client_id}",
    "Compare the entry with the application's page in Entra; its sign-in log has the reason",
)
NO_MANAGED_IDENTITY = Advice(
    "signs in with {0.identity}, but there is none here: managed identities work in Azure only",
    "In Azure, assign an identity to this app or machine; on a laptop, write client_secret in its place",
)
IDENTITY_SLOW = Advice(
    "cannot sign in now: the managed identity endpoint did not respond in time",
    "Try again later; if it lasts, restart this app or machine in Azure, and check that no firewall blocks the "
    "endpoint",
)
IDENTITY_OUTAGE = Advice(
    "cannot sign in now: the managed identity endpoint has an error",
    "Try again later; if it lasts, check the identities of this app or machine in Azure",
)
IDENTITY_UNREACHED = Advice(
    "cannot sign in: the managed identity endpoint, which IDENTITY_ENDPOINT names, could not be reached",
    "Leave IDENTITY_ENDPOINT and IDENTITY_HEADER as Azure sets them, and check that no firewall blocks the endpoint",
)
NO_SUCH_IDENTITY = Advice(
    "signs in with {0.identity}, which is not assigned here",
    "Assign it to this app or machine in Azure, or write the client_id of one that is assigned",
)
IDENTITY_REFUSED = Advice(
    "signs in with {0.identity}, but its endpoint rejects this process",
    "Leave IDENTITY_ENDPOINT and IDENTITY_HEADER as Azure sets them",
)


def advice_on(error: BaseException, status: int, details: TokenDetails) -> Advice:
    """The problem and fix for an error of azure-identity or of the time limit. `status` is that of the last response, 0
    if there was none."""
    codes = codes_of(error)
    row = next((FAULTS[code] for code in codes if code in FAULTS), None)
    row = row or _by_status(status, details) or _by_kind(error, status, details) or _by_code(codes, status)
    return row.about(details)


def codes_of(error: BaseException) -> tuple[int, ...]:
    """The AADSTS numbers of an error: those of the response's `error_codes`, else what its message names."""
    response: Any = getattr(error, "response", None)
    try:
        codes = response.json()["error_codes"]
        return tuple(code for code in codes if isinstance(code, int))
    except Exception:  # no response, no JSON, no such member
        return tuple(int(code) for code in _CODE.findall(str(error)))


def claims_of(error: BaseException) -> str:
    """The claims challenge of an error's response (Microsoft, "Claims challenges, claims requests, and client
    capabilities"): a JSON object as text. "" if there is none, or one that no header should carry."""
    response: Any = getattr(error, "response", None)
    try:
        claims = response.json()["claims"]
        known = isinstance(claims, str) and len(claims) <= _LONGEST_CHALLENGE and isinstance(json.loads(claims), dict)
    except Exception:  # no response, no JSON, no such member
        return ""
    return claims if known else ""


def moment(seconds: float) -> str:
    """A time for people to read, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def issuer_and_subject(assertion: str) -> tuple[str, str]:
    """The issuer and subject of a federated credential's token, for people to compare. Nothing is decided by them. A
    claim that cannot be shown is empty."""
    import jwt

    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except Exception:  # odd claims raise anything
        return "", ""
    return _shown(claims.get("iss")), _shown(claims.get("sub"))


def _shown(claim: Any) -> str:
    return claim[:_LONGEST_CLAIM] if isinstance(claim, str) and claim.isprintable() else ""


def _by_status(status: int, details: TokenDetails) -> Advice | None:
    if status == TOO_MANY:
        return THROTTLED
    if status < 500:
        return None
    return IDENTITY_OUTAGE if details.way == "managed_identity" else OUTAGE


def _by_kind(error: BaseException, status: int, details: TokenDetails) -> Advice | None:
    if fix := of_certificate(error):
        return Advice(NOT_VERIFIED.wrong, fix)
    if is_untrusted(error) or "TLS CA certificate bundle" in str(error):
        return NOT_VERIFIED
    if details.way == "managed_identity":
        return IDENTITY_SLOW if _is_late(error) else _of_identity(status, details)
    if fix := by_proxy(error):
        return Advice("cannot sign in: the proxy of POSTERN_PROXY did not connect to {0.server}", fix)
    if isinstance(error, TimeoutError):
        return NO_TOKEN_IN_TIME
    if status:
        return None
    return UNUSABLE if isinstance(error, ValueError) else NO_ANSWER


def _is_late(error: BaseException) -> bool:
    """Whether it began with a time limit: ours, or that of a read in Azure's client."""
    chain = (error, error.__cause__, error.__context__, getattr(error, "inner_exception", None))
    names = ("ReadTimeout", "ReadTimeoutError", "ServiceResponseTimeoutError")
    return any(isinstance(each, TimeoutError) or type(each).__name__ in names for each in chain)


def _of_identity(status: int, details: TokenDetails) -> Advice:
    if not status and details.endpoint:
        return IDENTITY_UNREACHED
    return {400: NO_SUCH_IDENTITY, 401: IDENTITY_REFUSED}.get(status, NO_MANAGED_IDENTITY)


def _by_code(codes: tuple[int, ...], status: int) -> Advice:
    if not codes:
        return UNKNOWN if status in (400, 401) else NOT_ENTRA  # a 403 without a code is a firewall's
    return Advice(
        UNKNOWN.wrong + f" (AADSTS{codes[0]})",
        f"Look up what it means at https://login.microsoftonline.com/error?code={codes[0]}",
    )
