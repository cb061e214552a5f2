"""The local tenant: a state folder, and the tokens that its keys sign with or without a server."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from postern.local_tenant import state, tokens
from postern.local_tenant.directory import (
    AUDIENCE,
    FOREIGN_TENANT_ID,
    POSTERN,
    SERVICE_ACCOUNT,
    TENANT_ID,
    Application,
    Directory,
    Person,
    directory_with,
)
from postern.local_tenant.faults import Faults
from postern.local_tenant.grants import SignIns
from postern.local_tenant.listener import listen
from postern.local_tenant.refusals import Refusals
from postern.local_tenant.vault import DURABLE_KEY_NAME, GRANTS_KEY_NAME, Vault

EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
GRAPH_AUDIENCE = "https://graph.microsoft.com"
DEFAULT_SCOPES = ("user_impersonation",)
WRONG_AUDIENCE = "843be625-584e-477a-ae84-737a4000d8ea"

_KEYS_FILE = "signing-keys.pem"  # the newest first, which signs
_PUBLISHED_KEYS = 2
_NO_PEOPLE: Mapping[str, str] = MappingProxyType({})


class UnknownName(KeyError):
    """No person or application of the tenant has this name. The message lists the known names."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class LocalTenant:
    """A tenant in a folder. Only the folder and the directory are kept in memory. Every property reads the files, so
    that a command beside a running server sees its address and its keys. `faults` are the simulated faults while this
    process serves it, and `sign_ins` what it remembers of people."""

    folder: Path
    directory: Directory
    vault: Vault
    faults: Faults = field(default_factory=Faults, compare=False, repr=False)
    sign_ins: SignIns = field(default_factory=SignIns, compare=False, repr=False)

    @classmethod
    def open(
        cls, folder: Path, people: Mapping[str, str] = _NO_PEOPLE, *, serves: bool = True, now: float | None = None
    ) -> "LocalTenant":
        """The tenant of this folder, made on first use. `people` are those of `[people]`: name to object id. Who does
        not serve it leaves its keys and certificates as they are, unread.

        Raises TenantFault if the folder or a file in it cannot be used."""
        at = _seconds(now)
        folder = folder.absolute()
        directory = directory_with(people)
        state.prepare_folder(folder)
        if serves or not state.has_certificates(folder):
            from postern.local_tenant.certificates import ensure_certificates

            ensure_certificates(folder, datetime.fromtimestamp(at, UTC))
        state.create_file(folder / _KEYS_FILE, tokens.new_key)
        state.create_state(folder, _first_state)
        names = [app.client_secret_name for app in directory.applications.values() if not app.public]
        vault = Vault.open(folder, [*names, GRANTS_KEY_NAME, DURABLE_KEY_NAME], at)
        tenant = cls(folder, directory, vault)
        state.read_state(folder)  # a damaged file is reported now, not at the first request
        if serves:
            _ = tenant.signing_keys
        for application in directory.applications.values():
            if application.has_certificate and not vault.versions(application.certificate_name):
                tenant.renew_certificate(application.name, now=at)
        return tenant

    @property
    def tenant_id(self) -> str:
        """The tenant's id, the same on every laptop."""
        return TENANT_ID

    @property
    def authority(self) -> str:
        """The address of the local Entra: `https://127.0.0.1:PORT`."""
        return state.read_state(self.folder).authority

    @property
    def key_vault_url(self) -> str:
        """The address of the local vault."""
        return state.read_state(self.folder).key_vault_url

    @property
    def vault_resource(self) -> str:
        """The resource that the vault's challenge names.

        Azure's client accepts it only if the vault's host ends with `.` and the resource's host and port. Names like
        x.vault.localhost resolve on few machines, so the address itself fulfils the rule: 127.0.0.1:PORT ends with
        .0.0.1:PORT. The check stays on."""
        return "https://" + urlsplit(self.key_vault_url).netloc.partition(".")[2]

    @property
    def graph_url(self) -> str:
        """The base URL of the local Graph. Its tokens are for GRAPH_AUDIENCE."""
        return f"{self.authority}/graph/v1.0"

    @property
    def server_url(self) -> str:
        """The Postern that is served beside this tenant; empty until there was one."""
        return state.read_state(self.folder).server_url

    @property
    def sign_in_url(self) -> str:
        """The address of the pages where people sign in: `http://127.0.0.1:PORT`; empty until it was served."""
        return state.read_state(self.folder).sign_in_url

    @property
    def audience(self) -> str:
        """Postern's App ID URI, the audience of v1 tokens."""
        return AUDIENCE

    @property
    def client_id(self) -> str:
        """Postern's client id, the audience of v2 tokens."""
        return POSTERN.client_id

    @property
    def audiences(self) -> tuple[str, str]:
        """Both audiences. POSTERN_AUDIENCE has to list them to accept v1 and v2 tokens."""
        return AUDIENCE, POSTERN.client_id

    @property
    def issuers(self) -> tuple[str, str]:
        """The v1 and the v2 issuer."""
        authority = self.authority
        return tokens.issuer(1, authority, TENANT_ID), tokens.issuer(2, authority, TENANT_ID)

    @property
    def cluster_issuer(self) -> str:
        """The issuer of tokens for the service accounts of the simulated cluster."""
        return f"{self.authority}/cluster"

    @property
    def ca_bundle(self) -> Path:
        """The PEM file with the authority that clients have to trust."""
        return self.folder / state.CA_FILE

    @property
    def people(self) -> dict[str, str]:
        """The people's names and object ids."""
        return {name: person.object_id for name, person in self.directory.people.items()}

    @property
    def applications(self) -> Mapping[str, Application]:
        """The applications by name."""
        return self.directory.applications

    @property
    def refusals(self) -> Refusals:
        """The people whose refresh tokens are refused, and with which error."""
        return Refusals(self.folder)

    @property
    def signing_keys(self) -> tuple[tokens.SigningKey, ...]:
        """The published keys; the first one signs."""
        path = self.folder / _KEYS_FILE
        try:
            keys = tokens.read_keys(path.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise state.TenantFault(f"{path} cannot be read: delete it; a new key is made at the next start") from error
        if not keys:
            raise state.TenantFault(f"{path} has no key in it: delete it; a new key is made at the next start")
        return keys

    def jwks(self) -> dict[str, Any]:
        """The key set document. Each key names its issuer as a template, like Entra's v2.0 documents."""
        template = tokens.issuer(2, self.authority, "{tenantid}")
        return {"keys": [{**key.jwk(), "issuer": template} for key in self.signing_keys]}

    def rotate_signing_key(self, *, revoke: bool = False) -> None:
        """Sign with a new key from now on. The former one stays published, unless it is revoked."""
        path = self.folder / _KEYS_FILE
        kept = [] if revoke else tokens.split_keys(path.read_bytes())
        state.write_file(path, b"".join([tokens.new_key(), *kept][:_PUBLISHED_KEYS]))

    def token(
        self,
        who: str,
        *,
        audience: str | None = None,
        version: tokens.Version = 2,
        scopes: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
        expired: bool = False,
        wrong_audience: bool = False,
        other_tenant: bool = False,
        now: float | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """An access token for a person or an application, by name.

        `audience`: by default Postern's own, which is its client id in v2 tokens and its App ID URI in v1 tokens.
        `scopes`: for people only. `roles`: by default the application's own. `expired`: it expired an hour ago.
        `wrong_audience`: it is for another API. `other_tenant`: its signature is valid, but its `tid` and `iss` are
        those of a foreign tenant. `now`: in seconds since 1970. `more`: further claims."""
        claims = self.claims(who, audience=audience, version=version, scopes=scopes, roles=roles, now=now)
        if expired:
            claims |= {name: claims[name] - 2 * tokens.LIFETIME for name in ("iat", "nbf", "exp")}
        if wrong_audience:
            claims["aud"] = WRONG_AUDIENCE if version == 2 else f"api://{WRONG_AUDIENCE}"
        if other_tenant:
            foreign = tokens.issuer(version, self.authority, FOREIGN_TENANT_ID)
            claims |= {"tid": FOREIGN_TENANT_ID, "iss": foreign}
        return self.mint({**claims, **more})

    def claims(
        self,
        who: str,
        *,
        audience: str | None = None,
        version: tokens.Version = 2,
        scopes: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
        now: float | None = None,
    ) -> dict[str, Any]:
        """The claims that `token` signs, for tests that change one before they `mint` it."""
        found = self.who(who)
        aud = audience if audience is not None else (self.client_id if version == 2 else self.audience)
        own_roles = found.roles if isinstance(found, Application) and aud in self.audiences else ()
        if scopes is not None and isinstance(found, Application):
            raise ValueError(f"{who} is an application: its tokens carry roles, never scopes")
        return tokens.claims_of(
            found,
            audience=aud,
            issued_by=tokens.issuer(version, self.authority, TENANT_ID),
            tenant_id=TENANT_ID,
            version=version,
            scopes=DEFAULT_SCOPES if scopes is None else tuple(scopes),
            roles=own_roles if roles is None else tuple(roles),
            now=_seconds(now),
        )

    def mint(self, claims: Mapping[str, Any] | bytes, headers: Mapping[str, Any] | None = None, key: Any = None) -> str:
        """Any token, for tests of authorization checks. `headers` replace the usual ones, and None removes one. `key`:
        the key for the header's `alg` (an RSA key object, bytes for HS256); the tenant's own if it is None."""
        newest = self.signing_keys[0]
        merged = {"typ": "JWT", "alg": "RS256", "kid": newest.kid, **(headers or {})}
        present = {name: value for name, value in merged.items() if value is not None}
        return tokens.encode(claims, present, newest.private if key is None else key)

    def verify(self, token: str, audience: str, now: float) -> dict[str, Any] | None:
        """The claims of a token of this tenant that is valid for `audience`; otherwise None."""
        return tokens.verify(token, self.signing_keys, issuers=self.issuers, audience=audience, now=now)

    def service_account_token(
        self, subject: str = SERVICE_ACCOUNT, *, audience: str = EXCHANGE_AUDIENCE, now: float | None = None
    ) -> str:
        """The token that a cluster writes to the file in AZURE_FEDERATED_TOKEN_FILE. The cluster has no keys of its
        own: its tokens differ from the tenant's by their issuer."""
        at = _seconds(now)
        claims = {"iss": self.cluster_issuer, "sub": subject, "aud": [audience], "iat": at, "nbf": at}
        return self.mint({**claims, "exp": at + tokens.LIFETIME})

    def who(self, name: str) -> Person | Application:
        """The person, application or managed identity of this name. Raises UnknownName."""
        directory = self.directory
        all_names: dict[str, Person | Application] = {
            **directory.people,
            **directory.applications,
            **directory.identities,
        }
        found = all_names.get(name)
        if found is None:
            known = ", ".join(all_names)
            raise UnknownName(f"the local tenant has no person or application {name!r}; it has {known}")
        return found

    def client_secret(self, application: str) -> str:
        """The current client secret of an application."""
        return self.vault.versions(self._registered(application).client_secret_name)[-1].value

    def rotate_client_secret(
        self, application: str, *, former_expires: float | None = None, now: float | None = None
    ) -> str:
        """Give an application a new client secret, in the vault too, and return it. The former ones stop working at
        once (AADSTS7000215), or expire at `former_expires`, past or future (AADSTS7000222)."""
        expires = None if former_expires is None else int(former_expires)
        name = self._registered(application).client_secret_name
        return self.vault.replace(name, _seconds(now), former_expires=expires)

    def renew_certificate(
        self, application: str, *, pem: bool = False, days: int = 365, now: float | None = None
    ) -> None:
        """Give an application a new certificate, in the vault too, written as PFX (Key Vault's usual form) or PEM. The
        former ones stop working at once (AADSTS700027)."""
        from postern.local_tenant.client_certificates import PEM, PFX, new_certificate

        at = _seconds(now)
        made = new_certificate(application, datetime.fromtimestamp(at, UTC), days)
        name = self._registered(application).certificate_name
        value, content_type = (made.pem(), PEM) if pem else (made.pfx(), PFX)
        self.vault.replace(name, at, former_expires=None, value=value, content_type=content_type)

    def put_secret(
        self,
        name: str,
        value: str,
        *,
        enabled: bool = True,
        expires: float | None = None,
        content_type: str = "",
        now: float | None = None,
    ) -> None:
        """Put a secret into the vault, as a new version if the name exists. `expires`: seconds since 1970."""
        date = None if expires is None else int(expires)
        self.vault.put(name, value, _seconds(now), enabled=enabled, expires=date, content_type=content_type)

    def set_server_url(self, url: str) -> None:
        """Write Postern's address to `state.json`, for commands that call it."""
        state.write_state(self.folder, replace(state.read_state(self.folder), server_url=url))

    def moved_to(self, port: int, sign_in_port: int) -> None:
        """Write the ports of the server, and of the pages for people, to `state.json`."""
        state.write_state(self.folder, state.state_at(port, self.server_url, sign_in_port))

    def _registered(self, name: str) -> Application:
        found = self.who(name)
        if not isinstance(found, Application) or name not in self.applications:
            kind = "a managed identity" if isinstance(found, Application) else "a person"
            raise UnknownName(f"{name!r} is {kind}; the applications are {', '.join(self.applications)}")
        return found


def _first_state() -> state.State:
    with listen(0) as free:
        return state.state_at(free.getsockname()[1])


def _seconds(now: float | None) -> int:
    return int(time.time() if now is None else now)
