"""Translates errors of reading a secret into the problem and its fix. All functions are pure.

The texts of Azure's errors repeat whole responses, so only statuses and codes are passed on.
Sources: learn.microsoft.com, "Azure Key Vault REST API error codes" and "Microsoft Entra authentication error codes".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from postern.connections.faults import ConnectionFault
from postern.connections.unreached import by_proxy, is_untrusted, of_certificate
from postern.connections.vault.secret import NoSuchSecret, NoSuchVersion, VaultUnavailable
from postern.loopback import is_loopback

CREDENTIAL = "POSTERN_AZURE_CREDENTIAL"

_LATER = (408, 429)
_AADSTS = re.compile(r"AADSTS([0-9]{4,8})")
_FIXES = {
    "managed_identity": "Give this machine a managed identity; if it is user-assigned, set AZURE_CLIENT_ID",
    "workload_identity": "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE, which the platform "
    "sets for a workload identity",
    "client_secret": "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment",
    "developer": "Sign in with `az login`",
}
_ENDPOINTS = {"managed_identity": "the identity endpoint of this machine", "developer": "the Azure CLI"}
_REFUSALS = {
    "7000215": (
        "AZURE_CLIENT_SECRET is not a secret of the application",
        "Set it to the secret's value, not to the secret's id",
    ),
    "7000222": ("AZURE_CLIENT_SECRET has expired", "Make a new secret for the application, and set it"),
    "700016": ("AZURE_CLIENT_ID is not an application of the tenant", "Check AZURE_CLIENT_ID and AZURE_TENANT_ID"),
    "90002": ("AZURE_TENANT_ID is not a tenant", "Check AZURE_TENANT_ID, and POSTERN_CLOUD for its cloud"),
    "700213": (
        "Entra has no federated credential for the token of this workload",
        "Add one with the issuer, the subject and the audience of that token",
    ),
}
_REFUSALS["70021"] = _REFUSALS["700213"]
_FORBIDDEN = {
    "SecretDisabled": ("is disabled", "Enable it: az keyvault secret set-attributes --enabled true --id {id}"),
    "SecretExpired": ("has expired in the Key Vault", "Put a new version of it there"),
    "SecretNotYetValid": (
        "is not valid yet",
        "Change its activation date: az keyvault secret set-attributes --not-before DATE --id {id}",
    ),
    "ForbiddenByFirewall": (
        "cannot be read: the firewall of the Key Vault {vault} blocks this machine",
        "Allow this machine's network on the vault's page Networking",
    ),
    "ForbiddenByConnection": (
        "cannot be read: the Key Vault {vault} accepts no requests from public networks",
        "Reach it by a private endpoint, or allow public access on the vault's page Networking",
    ),
}
_DELETED = ("ObjectIsDeletedButRecoverable", "ObjectIsBeingDeleted", "ObjectIsBeingRecovered")
_NOT_OF_THE_VAULT = "(no error document of Key Vault)"
_FORBIDDEN[_NOT_OF_THE_VAULT] = (
    "cannot be read: a firewall or proxy between this machine and the Key Vault {vault} returned 403",
    "Allow requests from this machine to that address there; Key Vault itself did not reject the request",
)
_NO_RIGHT = (
    "cannot be read: Postern's identity is not allowed to read secrets of the Key Vault {vault}",
    'Give it the role "Key Vault Secrets User" on the vault; a new role takes some minutes to take effect',
)

_WAY = (
    "Check POSTERN_KEY_VAULT_URL and POSTERN_AUTHORITY, and that DNS and firewalls allow this machine to reach {what}"
)


class SignInFailed(Exception):
    """Postern's own credential got no token for the vault. Azure's client does not know this type, so it does not
    repeat the retries of the credential."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class Throttled(Exception):
    """The vault's Retry-After, `seconds`, is longer than a request may wait."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(status, seconds)
        self.status = status
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class SecretRequest:
    """The secret that was requested, and the vault. `credential` is the kind in POSTERN_AZURE_CREDENTIAL. `version` is
    "" for the latest one."""

    name: str
    vault: str
    credential: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a secret could not be read. During an `outage` the last value of the secret may be used. `retry_after` is the
    vault's Retry-After in seconds, 0 if it sent none. `no_version`: the vault has no such version of it.
    `no_secret`: it has no secret of this name."""

    entry: str
    wrong: str
    fix: str
    outage: bool = False
    retry_after: float = 0.0
    no_version: bool = False
    no_secret: bool = False

    def fault(self) -> ConnectionFault:
        """The failure as an exception."""
        kind: type[ConnectionFault] = VaultUnavailable if self.outage else ConnectionFault
        kind = NoSuchVersion if self.no_version else NoSuchSecret if self.no_secret else kind
        return kind(self.entry, self.wrong, self.fix)


def entry_of(name: str) -> str:
    """The name of a secret in faults."""
    return f"the secret {name}"


def lacks(kind: str, text: str = "") -> ConnectionFault:
    """The fault of a credential of Postern's own that cannot be made. `text` is the fix, if it is known."""
    return ConnectionFault(CREDENTIAL, f"({kind}) is incomplete", text.rstrip(".") or _FIXES[kind])


def failure_of(error: Exception, request: SecretRequest) -> Failure:
    """The failure that an error of reading a secret means."""
    if isinstance(error, ConnectionFault):
        return Failure(error.entry, error.wrong, error.fix)
    if isinstance(error, SignInFailed):
        return _of_sign_in(error.error, request)
    if isinstance(error, Throttled):
        return _of_status(error.status, "", request, error.seconds)
    status = _status(error)
    if status and not 200 <= status < 300:
        return _of_status(status, _code(error), request)
    return _of_network(error, "the Key Vault", f" {request.vault}", request) or _of_no_vault(error, request)


def _of_status(status: int, code: str, request: SecretRequest, retry_after: float = 0.0) -> Failure:
    local = is_loopback(urlsplit(request.vault).hostname or "")  # only the local tenant's vault is
    set_here = f"Set it in the local tenant: postern secrets set {request.name}"
    if status == 404 and request.version:
        wrong = f"has no version {request.version} in the Key Vault {request.vault}"
        return Failure(entry_of(request.name), wrong, "Check POSTERN_KEY_VAULT_URL", no_version=True)
    if status == 404:
        fix = (
            f"Check its spelling; to list the names: az keyvault secret list --query [].name --id {request.vault}. If "
            f"it was deleted: az keyvault secret recover --id {request.vault}/deletedsecrets/{request.name}"
        )
        found = _failure(request, f"is not in the Key Vault {request.vault}", set_here if local else fix)
        return replace(found, no_secret=True)
    if status == 409 and code in _DELETED:
        recover = f"az keyvault secret recover --id {request.vault}/deletedsecrets/{request.name}"
        return _failure(request, f"is deleted in the Key Vault {request.vault}", f"Recover it: {recover}")
    if status == 403:
        wrong, fix = _FORBIDDEN.get(code, _NO_RIGHT)
        fix = set_here if local and code.startswith("Secret") else fix
        at = {"vault": request.vault, "id": f"{request.vault}/secrets/{request.name}"}
        return _failure(request, wrong.format(**at), fix.format(**at))
    if status == 401:
        wrong = f"cannot be read: the Key Vault {request.vault} rejects the token of Postern's identity"
        return _failure(request, wrong, f"The vault and the identity of {CREDENTIAL} must be in the same tenant")
    if status == 429:
        wrong = f"cannot be read for now: the Key Vault {request.vault} gets too many requests"
        fix = "Wait; POSTERN_SECRET_MAX_AGE is the time for which secrets are cached between two requests"
        return _failure(request, wrong, fix, outage=True, retry_after=retry_after)
    wrong = f"cannot be read: the Key Vault {request.vault} returned {status}"
    if status in _LATER or status >= 500:
        return _failure(request, f"{wrong} for now", "Try again later", outage=True, retry_after=retry_after)
    return _failure(request, wrong, "Check that POSTERN_KEY_VAULT_URL is the address of a Key Vault")


def _of_network(error: Exception, what: str, where: str, request: SecretRequest) -> Failure | None:
    """The network problem on the way to `what`, which is at `where`; None if there is none."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    place = what + where
    if isinstance(error, TimeoutError):
        return _failure(
            request, f"cannot be read: {place} did not respond in time", _WAY.format(what=what), outage=True
        )
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        if fix := of_certificate(error):
            wrong = f"cannot be read: the TLS certificate of {place} could not be verified"
            return _failure(request, wrong, fix, outage=True)
        if is_untrusted(error):
            wrong = f"cannot be read: the TLS certificate of {place} is from an authority that is not trusted"
            fix = "Set POSTERN_CA_BUNDLE to a PEM file with the authority of the private network or inspecting proxy"
            return _failure(request, wrong, fix, outage=True)
        wrong, fix = f"cannot be read: {place} cannot be reached", by_proxy(error) or _WAY.format(what=what)
        return _failure(request, wrong, fix, outage=True)
    if isinstance(error, OSError):
        fix = "Set it to an existing file of certificates in PEM"
        return Failure(
            "POSTERN_CA_BUNDLE", f"cannot be read, so {entry_of(request.name)} cannot be read either", fix, outage=True
        )
    return None


def _of_no_vault(error: Exception, request: SecretRequest) -> Failure:
    if isinstance(error, ValueError) and "challenge" in str(error):  # which is checked to be for the vault's own host
        wrong = f"cannot be read: the server at {request.vault} requires tokens for another service"
        return _failure(
            request, wrong, "POSTERN_KEY_VAULT_URL must be the vault's own address, not a proxy's or an alias"
        )
    wrong = f"cannot be read: the server at {request.vault} does not respond like a Key Vault"
    fix = "Check POSTERN_KEY_VAULT_URL, and that no proxy responds in the vault's place"
    return _failure(request, wrong, fix, outage=True)


def _of_sign_in(error: Exception, request: SecretRequest) -> Failure:
    """Why Postern's own credential got no token."""
    endpoint = _ENDPOINTS.get(request.credential, "Entra")
    status = _status(error)
    if status in _LATER or status >= 500:
        wrong = f"cannot be read: {endpoint}, where {CREDENTIAL} signs in, returned {status} for now"
        return _failure(request, wrong, "Try again later", outage=True)
    network = _of_network(error, endpoint, "", request)
    if network is not None:
        return network
    unavailable = _by_network(error)
    if unavailable and request.credential == "managed_identity":
        wrong = f"cannot be read: {endpoint}, where {CREDENTIAL} signs in, did not respond in time"
        fix = (
            f"If it lasts, check that there is one: managed identities work in Azure only. {_FIXES['managed_identity']}"
        )
        return _failure(request, wrong, fix, outage=True)
    wrong, fix = _refused(error, request.credential)
    return Failure(CREDENTIAL, f"{wrong}, so {entry_of(request.name)} cannot be read", fix, outage=unavailable)


def _refused(error: Exception, kind: str) -> tuple[str, str]:
    text = str(error)
    found = _AADSTS.search(text)
    code = found[1] if found else ""
    if code in _REFUSALS:
        why, fix = _REFUSALS[code]
        return f"({kind}) cannot sign in: {why} (AADSTS{code})", fix
    if "not configured to acquire tokens for tenant" in text:
        return f"({kind}) cannot sign in: the Key Vault is in another tenant", "Use an identity of the vault's tenant"
    return f"({kind}) cannot sign in{f': AADSTS{code}' if code else ''}", _FIXES[kind]


def _by_network(error: BaseException) -> bool:
    """Whether a credential that reports itself unavailable only got no response."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    causes = (error.__cause__, error.__context__)
    return any(isinstance(each, ServiceRequestError | ServiceResponseError | TimeoutError) for each in causes)


def _failure(
    request: SecretRequest, wrong: str, fix: str, *, outage: bool = False, retry_after: float = 0.0
) -> Failure:
    """A failure of this secret. Its text names a setting, so that an operator knows where to look."""
    if "POSTERN_" not in wrong + fix:
        fix += ". The vault is that of POSTERN_KEY_VAULT_URL"
    return Failure(entry_of(request.name), wrong, fix, outage, retry_after)


def _status(error: Exception) -> int:
    """The HTTP status of an error; 0 if there was no response."""
    for source in (error, getattr(error, "response", None)):
        status = getattr(source, "status_code", None)
        if isinstance(status, int):
            return status
    return 0


def _code(error: Exception) -> str:
    """The inner code of Key Vault's error document, which distinguishes the kinds of 403; "" if there is none."""
    response: Any = getattr(error, "response", None)
    try:
        document: Any = response.json()
        document["error"]["code"]
    except Exception:  # the response may be anything
        return _NOT_OF_THE_VAULT
    try:
        found = next(part for name, part in document["error"].items() if name.lower() == "innererror")
        code = found.get("code") if isinstance(found, Mapping) else ""
    except Exception:  # the response may be anything
        return ""
    return code if isinstance(code, str) else ""
