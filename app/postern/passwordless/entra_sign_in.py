"""Signs in at PostgreSQL with a token from Entra in place of a password. This module and Azure are imported only for a
database URL with `passwordless=entra`.

Each new physical connection uses the current token. Open connections outlive their tokens. Tokens are requested with
synchronous clients, because the database's driver is synchronous here. The package's own listener for SQLAlchemy is not
used: it would also request a token for Azure management to get a user name that is already in the URL, and it fails
for identities whose tokens name no user (applications, system-assigned identities).

Reference: learn.microsoft.com/azure/postgresql/flexible-server/security-entra-configure.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import psycopg
from azure.core.credentials import TokenCredential
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    AzureCliCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure_postgresql_auth.core import AZURE_DB_FOR_POSTGRES_SCOPE, get_entra_token
from sqlalchemy import Dialect, Engine, event

from postern.clouds import AUTHORITIES
from postern.errors import DatabaseFault
from postern.logs import QUIET
from postern.passwordless.database_url import Passwordless
from postern.proxy import Proxy
from postern.version import user_agent

CONNECT_SECONDS = 3.0
READ_SECONDS = 5.0
"""The time limits of a token request. The code that needs the connection retries."""
FORGET_SECONDS = 30.0
"""A token that the database rejects is requested again, but not more often than this."""
SCOPES = {
    "public": AZURE_DB_FOR_POSTGRES_SCOPE,
    "usgov": "https://ossrdbms-aad.database.usgovcloudapi.net/.default",
    "china": "https://ossrdbms-aad.database.chinacloudapi.cn/.default",
}
_NEEDED = {
    "managed_identity": (),
    "workload_identity": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
    "client_secret": ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),
    "developer": (),
}

Connect = Callable[..., Any]

for _name in ("azure", "azure.identity", "msal", "urllib3"):  # azure.identity logs whole responses by default
    logging.getLogger(_name).setLevel(QUIET[_name])


class SignInFailed(psycopg.OperationalError):
    """There is no token, or the database rejects it. Like the driver's own error, it may be temporary. `advice` is the
    text for the log. It contains no part of the token."""

    def __init__(self, advice: str) -> None:
        super().__init__(advice)
        self.advice = advice


class _Transport(RequestsTransport):  # type: ignore[misc]  # Azure gives it no type
    """Azure's transport, with our proxy. A managed identity's endpoint belongs to this machine, and is never reached
    through it."""

    def __init__(self, proxy: Proxy | None, **options: Any) -> None:
        super().__init__(**options)
        self._proxy = proxy

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request. Azure's pipeline calls this."""
        if self._proxy is not None and self._proxy.carries(urlsplit(request.url).hostname or ""):
            options["proxies"] = {"https": self._proxy.url}
        return super().send(request, **options)


class Tokens:
    """Gets the password of each new connection. Several threads may use it."""

    def __init__(self, how: Passwordless, clock: Callable[[], float] = time.monotonic) -> None:
        self._how = how
        self._clock = clock
        self._credential: TokenCredential | None = None
        self._made_at = 0.0

    def connect(self, connect: Connect, parameters: Mapping[str, Any]) -> Any:
        """The result of `connect` with a token as its password. Raises SignInFailed, and the driver's own errors if the
        server cannot be reached."""
        token = self._token()
        try:
            return connect(**{**parameters, "password": token})
        except psycopg.OperationalError as error:
            if error.pgconn is None or not error.pgconn.used_password:
                raise
            self._forget()
        raise SignInFailed(
            "POSTERN_DATABASE_URL: the server rejected the token that POSTERN_AZURE_CREDENTIAL="
            f"{self._how.credential} got. Check that the database exists, and that the user in the URL is a role for "
            "this identity (pgaadauth_create_principal)"
        ) from None

    def _token(self) -> str:
        try:
            if self._credential is None:
                self._credential, self._made_at = _credential(self._how), self._clock()
            return get_entra_token(self._credential, SCOPES[self._how.cloud])
        except Exception as error:  # any error: without a token there is no connection, and it may be temporary
            why = type(error).__name__  # its text can contain the whole response
        raise SignInFailed(
            f"POSTERN_DATABASE_URL: no token for the database by POSTERN_AZURE_CREDENTIAL={self._how.credential} "
            f"({why}). Check that the identity is assigned here, that AZURE_CLIENT_ID names it, and that Entra can be "
            "reached"
        )

    def _forget(self) -> None:
        """Drop the client. Azure's clients keep a token until it nearly expires, so a new one needs a new client."""
        if self._clock() - self._made_at >= FORGET_SECONDS:
            self._credential = None


def sign_in(engine: Engine, how: Passwordless) -> None:
    """Make each new connection of the engine sign in with a token. Raises DatabaseFault if a variable that the
    credential needs is not set."""
    missing = [name for name in _NEEDED[how.credential] if not os.environ.get(name)]
    if missing:
        raise DatabaseFault(
            f"POSTERN_DATABASE_URL signs in with POSTERN_AZURE_CREDENTIAL={how.credential}: set {', '.join(missing)} "
            "in the environment"
        )
    tokens = Tokens(how)

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Dialect, _: object, arguments: Sequence[Any], parameters: Mapping[str, Any]) -> Any:
        return tokens.connect(lambda **named: dialect.connect(*arguments, **named), parameters)


def settled(query: Mapping[str, Any], ca_bundle: Path | None) -> dict[str, str]:
    """Additional parameters for the driver. GSS encryption is off, because it would take precedence over TLS. libpq has
    no authorities for `sslmode=verify-full`, so it gets those of POSTERN_CA_BUNDLE, or else the ones that the token
    endpoint is verified by."""
    added = {"gssencmode": "disable"}
    if query.get("sslmode") == "verify-full" and "sslrootcert" not in query:
        added["sslrootcert"] = str(ca_bundle or certifi.where())
    return added


def _credential(how: Passwordless) -> TokenCredential:
    options: dict[str, Any] = {
        "authority": how.authority or AUTHORITIES[how.cloud],
        "disable_instance_discovery": True,
        "transport": _Transport(
            None if how.credential == "managed_identity" else how.proxy,
            connection_verify=str(how.ca_bundle) if how.ca_bundle else True,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            use_env_settings=False,
        ),
        "retry_total": 0,
        "user_agent": user_agent(),
    }
    match how.credential:
        case "managed_identity":
            return ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"), **options)
        case "workload_identity":
            return WorkloadIdentityCredential(**options)
        case "client_secret":
            tenant_id, client_id, client_secret = (os.environ[name] for name in _NEEDED["client_secret"])
            return ClientSecretCredential(tenant_id, client_id, client_secret, **options)
        case _:
            return AzureCliCredential(process_timeout=int(READ_SECONDS))
