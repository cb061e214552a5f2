"""The fault for each error of reading a secret, as a table that a person can read."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import CredentialUnavailableError

from postern.connections.faults import ConnectionFault
from postern.connections.vault.vault_errors import SecretRequest, SignInFailed, Throttled, failure_of, lacks
from tests.table import table

VAULT = "https://acme.vault.azure.net"
MARKER = "text-of-azure"
SECRET, CREDENTIAL = "the secret graph-secret", "POSTERN_AZURE_CREDENTIAL"


def answer(status: int, document: Any = None) -> Any:
    return SimpleNamespace(
        status_code=status, reason=MARKER, headers={}, json=lambda: document, text=lambda: json.dumps(document)
    )


def of_vault(status: int, code: str = "", member: str = "innererror") -> HttpResponseError:
    """What Azure's client raises where the vault answers so."""
    document = {"error": {"code": "Forbidden", "message": MARKER, member: {"code": code}}}
    kind = {404: ResourceNotFoundError, 401: ClientAuthenticationError}.get(status, HttpResponseError)
    return kind(message=MARKER, response=answer(status, document))


def of_entra(code: str, status: int = 401) -> SignInFailed:
    """What azure-identity raises where Entra answers so."""
    return SignInFailed(ClientAuthenticationError(message=f"{MARKER}: AADSTS{code}: {MARKER}", response=answer(status)))


def unavailable(cause: Exception | None = None) -> SignInFailed:
    error = CredentialUnavailableError(message=MARKER)
    error.__cause__ = cause
    return SignInFailed(error)


TABLE = [
    # what is raised, the entry, what is said, the fix, whether it is an outage
    (
        of_vault(404),
        SECRET,
        f"is not in the Key Vault {VAULT}",
        f"az keyvault secret list --query [].name --id {VAULT}",
        0,
    ),
    (
        of_vault(403, "ForbiddenByRbac"),
        SECRET,
        "is not allowed to read secrets",
        'the role "Key Vault Secrets User"',
        0,
    ),
    (of_vault(403, "AccessDenied"), SECRET, "is not allowed to read secrets", '"Key Vault Secrets User"', 0),
    (of_vault(403), SECRET, "is not allowed to read secrets", '"Key Vault Secrets User"', 0),
    (of_vault(403, "SecretDisabled"), SECRET, "is disabled", f"--enabled true --id {VAULT}/secrets/graph-secret", 0),
    (of_vault(403, "SecretDisabled", "innerError"), SECRET, "is disabled", "Enable it", 0),
    (of_vault(403, "SecretExpired"), SECRET, "has expired", "Put a new version", 0),
    (of_vault(403, "SecretNotYetValid"), SECRET, "is not valid yet", "--not-before", 0),
    (of_vault(403, "ForbiddenByFirewall"), SECRET, "the firewall of the Key Vault", "the vault's page Networking", 0),
    (of_vault(403, "ForbiddenByConnection"), SECRET, "no requests from public networks", "a private endpoint", 0),
    (
        HttpResponseError(message=MARKER, response=answer(403, MARKER)),
        SECRET,
        f"a firewall or proxy between this machine and the Key Vault {VAULT} returned 403",
        "Key Vault itself did not reject",
        0,
    ),
    (
        of_vault(404),
        SECRET,
        "is not in the Key Vault",
        f"If it was deleted: az keyvault secret recover --id {VAULT}/deletedsecrets/graph-secret",
        0,
    ),
    (of_vault(409, "ObjectIsDeletedButRecoverable"), SECRET, "is deleted in the Key Vault", "Recover it: az", 0),
    (of_vault(409, "ObjectIsBeingRecovered"), SECRET, "is deleted in the Key Vault", "Recover it: az", 0),
    (of_vault(401), SECRET, "rejects the token", "must be in the same tenant", 0),
    (of_vault(400), SECRET, "returned 400", "POSTERN_KEY_VAULT_URL", 0),
    (of_vault(302), SECRET, "returned 302", "POSTERN_KEY_VAULT_URL", 0),
    (of_vault(408), SECRET, "returned 408 for now", "Try again later", 1),
    (of_vault(429), SECRET, "gets too many requests", "POSTERN_SECRET_MAX_AGE", 1),
    (Throttled(429, 60), SECRET, "gets too many requests", "POSTERN_SECRET_MAX_AGE", 1),
    (of_vault(500), SECRET, "returned 500 for now", "Try again later", 1),
    (Throttled(503, 60), SECRET, "returned 503 for now", "Try again later", 1),
    (TimeoutError(), SECRET, f"the Key Vault {VAULT} did not respond in time", "POSTERN_KEY_VAULT_URL", 1),
    (ServiceRequestError(MARKER), SECRET, f"{VAULT} cannot be reached", "DNS and firewalls", 1),
    (ServiceResponseError(MARKER), SECRET, f"{VAULT} cannot be reached", "DNS and firewalls", 1),
    (ServiceRequestError("CERTIFICATE_VERIFY_FAILED"), SECRET, "is not trusted", "POSTERN_CA_BUNDLE", 1),
    (OSError(MARKER), "POSTERN_CA_BUNDLE", f"cannot be read, so {SECRET} cannot", "an existing file", 1),
    (
        ValueError(f"The challenge {MARKER}"),
        SECRET,
        "requires tokens for another service",
        "the vault's own address",
        0,
    ),
    (ValueError(MARKER), SECRET, "does not respond like a Key Vault", "POSTERN_KEY_VAULT_URL", 1),
    (DecodeError(MARKER, response=answer(200)), SECRET, "does not respond like a Key Vault", "no proxy responds", 1),
    (AzureError(MARKER), SECRET, "does not respond like a Key Vault", "no proxy responds", 1),
    (KeyError(MARKER), SECRET, "does not respond like a Key Vault", "no proxy responds", 1),
    (ConnectionFault("x", "is wrong", "Fix it"), "x", "is wrong", "Fix it", 0),
    (
        of_entra("7000215"),
        CREDENTIAL,
        "AZURE_CLIENT_SECRET is not a secret of the application",
        "not to the secret's id",
        0,
    ),
    (of_entra("7000222"), CREDENTIAL, "AZURE_CLIENT_SECRET has expired (AADSTS7000222)", "Make a new secret", 0),
    (of_entra("700016", 400), CREDENTIAL, "AZURE_CLIENT_ID is not an application", "AZURE_TENANT_ID", 0),
    (of_entra("90002", 400), CREDENTIAL, "AZURE_TENANT_ID is not a tenant", "POSTERN_CLOUD", 0),
    (of_entra("700213"), CREDENTIAL, "no federated credential", "the issuer, the subject and the audience", 0),
    (of_entra("53003"), CREDENTIAL, "(client_secret) cannot sign in: AADSTS53003", "AZURE_CLIENT_SECRET", 0),
    (of_entra("90055", 429), SECRET, f"Entra, where {CREDENTIAL} signs in, returned 429", "Try again later", 1),
    (of_entra("90033", 503), SECRET, f"Entra, where {CREDENTIAL} signs in, returned 503", "Try again later", 1),
    (SignInFailed(ServiceRequestError(MARKER)), SECRET, "Entra cannot be reached", "POSTERN_AUTHORITY", 1),
    (
        SignInFailed(ServiceRequestError("CERTIFICATE_VERIFY_FAILED")),
        SECRET,
        "certificate of Entra",
        "POSTERN_CA_BUNDLE",
        1,
    ),
    (SignInFailed(TimeoutError()), SECRET, "Entra did not respond in time", "POSTERN_AUTHORITY", 1),
    (unavailable(), CREDENTIAL, "cannot sign in, so the secret graph-secret cannot be read", "AZURE_TENANT_ID", 0),
    (unavailable(ServiceRequestError(MARKER)), CREDENTIAL, "cannot sign in", "AZURE_TENANT_ID", 1),
]


@table(("error", "entry", "wrong", "fix", "outage"), TABLE)
def test_every_error_says_what_is_wrong_and_how_to_fix_it(
    error: Exception, entry: str, wrong: str, fix: str, outage: int
):
    found = failure_of(error, SecretRequest("graph-secret", VAULT, "client_secret"))
    assert found.entry == entry
    assert wrong in found.wrong
    assert fix in found.fix
    assert found.outage == bool(outage)
    assert MARKER not in str(found)
    assert str(found.fault()) == f"{found.entry} {found.wrong}. {found.fix}."


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("managed_identity", "Give this machine a managed identity"),
        ("workload_identity", "AZURE_FEDERATED_TOKEN_FILE"),
        ("client_secret", "AZURE_CLIENT_SECRET"),
        ("developer", "`az login`"),
    ],
)
def test_each_kind_of_credential_has_its_fix(kind: str, says: str):
    assert says in failure_of(unavailable(), SecretRequest("x", VAULT, kind)).fix
    assert says in lacks(kind).fix


def test_a_vault_of_another_tenant_is_reported():
    text = "The current credential is not configured to acquire tokens for tenant 0."
    found = failure_of(
        SignInFailed(ClientAuthenticationError(message=text)), SecretRequest("x", VAULT, "client_secret")
    )
    assert found.wrong.startswith("(client_secret) cannot sign in: the Key Vault is in another tenant")


def test_what_a_credential_lacks_is_said_in_one_sentence():
    assert str(lacks("client_secret", "Set X.")) == f"{CREDENTIAL} (client_secret) is incomplete. Set X."


def test_how_long_the_vault_wants_to_be_left_alone_is_kept():
    assert failure_of(Throttled(429, 60), SecretRequest("x", VAULT, "client_secret")).retry_after == 60


@table("error", [row[0] for row in TABLE if not isinstance(row[0], ConnectionFault)])
def test_every_failure_names_a_setting(error: Exception):
    failure = failure_of(error, SecretRequest("graph-secret", VAULT, "client_secret"))
    assert "POSTERN_" in f"{failure.entry} {failure.wrong} {failure.fix}"


@pytest.mark.parametrize("cause", [ServiceRequestError(MARKER), TimeoutError()])
def test_an_identity_endpoint_that_is_slow_is_not_said_to_be_missing(cause: Exception):
    failure = failure_of(unavailable(cause), SecretRequest("graph-secret", VAULT, "managed_identity"))
    assert "the identity endpoint of this machine" in failure.wrong
    assert "did not respond in time" in failure.wrong
    assert failure.outage
