"""How an entry of `postern.toml` signs in, in words. Pure. Secrets are named, never shown."""

from urllib.parse import urlsplit

from postern.settings import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    EntraAuth,
    GrantedAuth,
    NoAuth,
    OAuth2Auth,
    OnBehalfOfAuth,
    SecretReference,
)

_AUTHENTICATES = {
    "header": "in the Authorization header",
    "body": "in the body of the request",
    "private_key_jwt": "by a signed assertion",
}


def sign_in_words(auth: Auth) -> str:
    """One sentence."""
    if isinstance(auth, NoAuth):
        return "Without authentication."
    if isinstance(auth, BasicAuth):
        return _basic(auth)
    if isinstance(auth, ApiKeyAuth):
        place = f"the header {auth.header}" if auth.header else f"the query parameter {auth.query}"
        return f"With the key {auth.key.key_vault} in {place}."
    if isinstance(auth, OAuth2Auth):
        return _oauth2(auth)
    if isinstance(auth, GrantedAuth):
        return _granted(auth)
    if isinstance(auth, OnBehalfOfAuth):
        return _on_behalf_of(auth)
    return _entra(auth)


def _basic(auth: BasicAuth) -> str:
    user = auth.username
    name = f"the secret {user.key_vault} as user name" if isinstance(user, SecretReference) else f"user name {user}"
    password = f"the password {auth.password.key_vault}" if auth.password else "no password"
    return f"With {name} and {password} in each request (Basic)."


def _oauth2(auth: OAuth2Auth) -> str:
    key, reference = auth.secret
    where = auth.identity_provider or urlsplit(auth.address).hostname or "its token endpoint"
    if auth.grant == "jwt_bearer":
        return f"With a token of {where}, for an assertion of {auth.client_id} signed by {reference.key_vault}."
    how = _AUTHENTICATES[auth.authentication]
    kind = "the private key" if key == "private_key" else "the secret"
    return f"With a token of {where} for the client {auth.client_id}: {kind} {reference.key_vault} {how}."


def _on_behalf_of(auth: OnBehalfOfAuth) -> str:
    application = f"the application {auth.client_id}" if auth.client_id else "Postern's own application"
    if auth.certificate is not None:
        proof = f": the certificate {auth.certificate.key_vault}"
    else:
        proof = f": the secret {auth.client_secret.key_vault}" if auth.client_secret else ", federated"
    return f"With a token of Entra for the caller of the run (on behalf of), by {application}{proof}."


def _granted(auth: GrantedAuth) -> str:
    whose = "a token that each person connects" if auth.per_user else "a token that an operator connects for all runs"
    address = auth.issuer or auth.authorization_url or ""
    where = f"tenant {auth.tenant} of Entra" if auth.tenant else "Entra"
    at = where if auth.is_entra else auth.identity_provider or urlsplit(address).hostname or "its provider"
    reference = auth.certificate or auth.client_secret
    how = "a federated managed identity" if reference is None else f"the secret {reference.key_vault}"
    if auth.certificate is not None:
        how = f"the certificate {auth.certificate.key_vault}"
    return f"With {whose}, of {at} for the client {auth.client_id}: {how}."


def _entra(auth: EntraAuth) -> str:
    tenant = f" of the tenant {auth.tenant_id}" if auth.tenant_id else ""
    application = f"the application {auth.client_id}" if auth.client_id else "the server's own managed identity"
    if auth.managed_identity:
        who = f"the managed identity {auth.client_id}" if auth.client_id else application
        return f"With a token of Entra{tenant} for {who}."
    if auth.federated:
        return f"With a token of Entra{tenant} for {application}, by a federated managed identity."
    if auth.certificate is not None:
        return f"With a token of Entra{tenant} for {application}: the certificate {auth.certificate.key_vault}."
    secret = auth.client_secret.key_vault if auth.client_secret else ""
    return f"With a token of Entra{tenant} for {application}: the secret {secret}."
