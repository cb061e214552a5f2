"""What is told where a secret cannot be read: from an error to what is wrong and what to mend. All of it is pure.

The texts of Azure's errors repeat whole replies, so nothing of them is passed on but statuses and codes.
Sources: learn.microsoft.com, "Azure Key Vault REST API error codes" and "Microsoft Entra authentication error codes".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from postern.connections.faults import ConnectionFault
from postern.loopback import is_loopback

CREDENTIAL = "POSTERN_AZURE_CREDENTIAL"

_LATER = (408, 429)
_AADSTS = re.compile(r"AADSTS([0-9]{4,8})")
_FIXES = {
    "managed_identity": "Give this machine a managed identity; AZURE_CLIENT_ID names it where it is user-assigned",
    "workload_identity": "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE, which the platform "
    "sets for a workload identity",
    "client_secret": "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment",
    "developer": "Sign in with `az login`",
}
_ENDPOINTS = {"managed_identity": "the identity endpoint of this machine", "developer": "the Azure CLI"}
_REFUSALS = {
    "7000215": (
        "AZURE_CLIENT_SECRET is no secret of the application",
        "Set it to a secret's value, which is not the secret's id",
    ),
    "7000222": ("AZURE_CLIENT_SECRET has expired", "Make a new secret for the application, and set it"),
    "700016": ("AZURE_CLIENT_ID is no application of the tenant", "Check AZURE_CLIENT_ID and AZURE_TENANT_ID"),
    "90002": ("AZURE_TENANT_ID is no tenant", "Check AZURE_TENANT_ID, and POSTERN_CLOUD for its cloud"),
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
        "cannot be read: the firewall of the Key Vault {vault} keeps this machine out",
        "Let this machine's network in on the vault's page Networking",
    ),
    "ForbiddenByConnection": (
        "cannot be read: the Key Vault {vault} takes no requests from public networks",
        "Reach it by a private endpoint, or allow public access on the vault's page Networking",
    ),
}
_NO_RIGHT = (
    "cannot be read: Postern's identity has no right to read secrets of the Key Vault {vault}",
    'Give it the role "Key Vault Secrets User" on the vault; a new role works after some minutes',
)

_WAY = (
    "Check POSTERN_KEY_VAULT_URL and POSTERN_AUTHORITY, and that DNS and firewalls let this machine through to {what}"
)


class SignInFailed(Exception):
    """Postern's own credential got no token for the vault. Azure's client does not know it, so it does not try again
    what the credential has tried again already."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class ToldToWait(Exception):
    """The vault wants the next request in `seconds`, which is longer than anybody waits."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(status, seconds)
        self.status = status
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, and of whom: `credential` is the kind that POSTERN_AZURE_CREDENTIAL names."""

    name: str
    vault: str
    credential: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a secret could not be read. An `outage` says nothing about the secret, so its last good value may serve;
    `retry_after` is in how many seconds the vault wants the next request, 0 where it does not say."""

    entry: str
    wrong: str
    fix: str
    outage: bool = False
    retry_after: float = 0.0

    def fault(self) -> ConnectionFault:
        """The same to be raised."""
        return ConnectionFault(self.entry, self.wrong, self.fix)


def entry_of(name: str) -> str:
    """A secret as faults name it."""
    return f"the secret {name}"


def lacks(kind: str, text: str = "") -> ConnectionFault:
    """Postern's own credential cannot be made: `text` says why, where that is known in our own words."""
    return ConnectionFault(CREDENTIAL, f"({kind}) lacks what it needs", text.rstrip(".") or _FIXES[kind])


def failure_of(error: Exception, asked: Asked) -> Failure:
    """What an error of reading a secret means."""
    if isinstance(error, ConnectionFault):
        return Failure(error.entry, error.wrong, error.fix)
    if isinstance(error, SignInFailed):
        return _of_sign_in(error.error, asked)
    if isinstance(error, ToldToWait):
        return _of_status(error.status, "", asked, error.seconds)
    status = _status(error)
    if status and not 200 <= status < 300:
        return _of_status(status, _code(error), asked)
    return _of_network(error, "the Key Vault", f" {asked.vault}", asked) or _of_no_vault(error, asked)


def _of_status(status: int, code: str, asked: Asked, retry_after: float = 0.0) -> Failure:
    local = is_loopback(urlsplit(asked.vault).hostname or "")  # only the local tenant's vault is
    set_here = f"Set it in the local tenant: postern secrets set {asked.name}"
    if status == 404:
        fix = f"Check its spelling; the names are listed by: az keyvault secret list --query [].name --id {asked.vault}"
        return _failure(asked, f"is not in the Key Vault {asked.vault}", set_here if local else fix)
    if status == 403:
        wrong, fix = _FORBIDDEN.get(code, _NO_RIGHT)
        fix = set_here if local and code.startswith("Secret") else fix
        at = {"vault": asked.vault, "id": f"{asked.vault}/secrets/{asked.name}"}
        return _failure(asked, wrong.format(**at), fix.format(**at))
    if status == 401:
        wrong = f"cannot be read: the Key Vault {asked.vault} does not take the token of Postern's identity"
        return _failure(asked, wrong, f"The vault and the identity of {CREDENTIAL} must be of one tenant")
    if status == 429:
        wrong = f"cannot be read for now: the Key Vault {asked.vault} has too many requests"
        fix = "Wait; POSTERN_SECRET_MAX_AGE says how long secrets are remembered between two requests"
        return _failure(asked, wrong, fix, outage=True, retry_after=retry_after)
    wrong = f"cannot be read: the Key Vault {asked.vault} answered {status}"
    if status in _LATER or status >= 500:
        return _failure(asked, f"{wrong} for now", "Try again later", outage=True, retry_after=retry_after)
    return _failure(asked, wrong, "Check that POSTERN_KEY_VAULT_URL is the address of a Key Vault")


def _of_network(error: Exception, what: str, where: str, asked: Asked) -> Failure | None:
    """What is wrong on the way to `what`, which is at `where`; None where nothing is."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    place = what + where
    if isinstance(error, TimeoutError):
        return _failure(asked, f"cannot be read: {place} did not answer in time", _WAY.format(what=what), outage=True)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            wrong = f"cannot be read: the TLS certificate of {place} is of an authority that is not trusted"
            fix = "Set POSTERN_CA_BUNDLE to a PEM file with the authority of the private network or inspecting proxy"
            return _failure(asked, wrong, fix, outage=True)
        return _failure(asked, f"cannot be read: {place} cannot be reached", _WAY.format(what=what), outage=True)
    if isinstance(error, OSError):
        fix = "Name an existing file of certificates in PEM"
        return Failure(
            "POSTERN_CA_BUNDLE", f"cannot be read, so {entry_of(asked.name)} cannot either", fix, outage=True
        )
    return None


def _of_no_vault(error: Exception, asked: Asked) -> Failure:
    if isinstance(error, ValueError) and "challenge" in str(error):  # which is checked to be for the vault's own host
        wrong = f"cannot be read: what answers at {asked.vault} asks for tokens of another service"
        return _failure(
            asked, wrong, "POSTERN_KEY_VAULT_URL must be the vault's own address, not a proxy's or an alias"
        )
    wrong = f"cannot be read: what answers at {asked.vault} does not answer as a Key Vault"
    fix = "Check POSTERN_KEY_VAULT_URL, and that no proxy answers in the vault's place"
    return _failure(asked, wrong, fix, outage=True)


def _of_sign_in(error: Exception, asked: Asked) -> Failure:
    """Why Postern's own credential was given no token."""
    endpoint = _ENDPOINTS.get(asked.credential, "Entra")
    status = _status(error)
    if status in _LATER or status >= 500:
        wrong = f"cannot be read: {endpoint}, where {CREDENTIAL} signs in, answered {status} for now"
        return _failure(asked, wrong, "Try again later", outage=True)
    network = _of_network(error, endpoint, "", asked)
    if network is not None:
        return network
    unavailable = _by_network(error)
    wrong, fix = _refused(error, asked.credential)
    return Failure(CREDENTIAL, f"{wrong}, so {entry_of(asked.name)} cannot be read", fix, outage=unavailable)


def _refused(error: Exception, kind: str) -> tuple[str, str]:
    text = str(error)
    found = _AADSTS.search(text)
    code = found[1] if found else ""
    if code in _REFUSALS:
        why, fix = _REFUSALS[code]
        return f"({kind}) cannot sign in: {why} (AADSTS{code})", fix
    if "not configured to acquire tokens for tenant" in text:
        return f"({kind}) cannot sign in: the Key Vault is of another tenant", "Use an identity of the vault's tenant"
    return f"({kind}) cannot sign in{f': AADSTS{code}' if code else ''}", _FIXES[kind]


def _by_network(error: BaseException) -> bool:
    """Whether a credential that says it is unavailable was only not answered."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    causes = (error.__cause__, error.__context__)
    return any(isinstance(each, ServiceRequestError | ServiceResponseError | TimeoutError) for each in causes)


def _failure(asked: Asked, wrong: str, fix: str, *, outage: bool = False, retry_after: float = 0.0) -> Failure:
    return Failure(entry_of(asked.name), wrong, fix, outage, retry_after)


def _status(error: Exception) -> int:
    """The HTTP status that an error tells of; 0 where there was no answer."""
    for source in (error, getattr(error, "response", None)):
        status = getattr(source, "status_code", None)
        if isinstance(status, int):
            return status
    return 0


def _code(error: Exception) -> str:
    """The inner code of Key Vault's error document, which tells the kinds of 403 apart; "" where there is none."""
    try:
        response: Any = getattr(error, "response", None)
        document: Any = response.json()
        found = next(part for name, part in document["error"].items() if name.lower() == "innererror")
        code = found.get("code") if isinstance(found, Mapping) else ""
    except Exception:  # what answers may be anything
        return ""
    return code if isinstance(code, str) else ""
