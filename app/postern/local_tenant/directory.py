"""The tenant's directory: people and applications, with ids that never change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

TENANT_ID = "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a"
FOREIGN_TENANT_ID = "4bdfc9b5-6862-4464-9df6-b11a2f8afd3e"  # where the guest is at home, and forged tokens come from
SIGN_IN_CLIENT_ID = "20e1dc88-0b78-47d6-9f75-37555320aa3c"  # the public client through which people sign in
AUDIENCE = "api://postern"
DOMAIN = "tenant.example"
FOREIGN_DOMAIN = "partner.example"
SERVICE_ACCOUNT = "system:serviceaccount:postern:postern"  # of the cluster that workload identity would be used in


@dataclass(frozen=True, slots=True)
class Person:
    """A user who can sign in. A guest's home is another tenant. `roles` are the app roles on Postern: ID tokens have
    them, and access tokens that are issued after a sign-in."""

    name: str
    object_id: str
    display_name: str
    guest: bool = False
    roles: tuple[str, ...] = ()
    domain: str = DOMAIN

    @property
    def mail(self) -> str:
        """The mail address."""
        return f"{self.name}@{FOREIGN_DOMAIN if self.guest else self.domain}"

    @property
    def user_principal_name(self) -> str:
        """The sign-in name in this tenant. For a guest it is Entra's encoded form of the mail address."""
        return f"{self.name}_partner.example#EXT#@{DOMAIN}" if self.guest else self.mail


@dataclass(frozen=True, slots=True)
class Federated:
    """The issuer and subject of tokens that an application accepts in place of a secret: a managed identity of this
    tenant by its object id, or a service account of the cluster."""

    issuer: Literal["tenant", "cluster"]
    subject: str


@dataclass(frozen=True, slots=True)
class Application:
    """An app registration with its service principal, or a managed identity, which has only a service principal.
    `object_id` is the service principal's. `roles` are its app roles on Postern. Its client secrets are the versions of
    the vault's secret `client_secret_name`, and its certificates, if any, those of `certificate_name`. People of other
    tenants can sign in to it if it is `multitenant`. One that is `public` runs on people's own machines and has no
    secret. One with a `blueprint`, the client id of an application, is an agent of Entra Agent ID."""

    name: str
    client_id: str
    object_id: str
    roles: tuple[str, ...] = ()
    reads_vault: bool = False
    has_certificate: bool = False
    federated: tuple[Federated, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    multitenant: bool = False
    public: bool = False
    blueprint: str = ""

    @property
    def identifier_uri(self) -> str:
        """Its Application ID URI, which token requests can name."""
        return f"api://{self.name}"

    @property
    def certificate_name(self) -> str:
        """The vault's secret whose versions are this application's certificates with their keys."""
        return f"{self.name}-certificate"

    @property
    def client_secret_name(self) -> str:
        """The vault's secret whose versions are this application's client secrets."""
        return f"{self.name}-client-secret"


@dataclass(frozen=True, slots=True)
class Directory:
    """The people, applications and managed identities, by their short names."""

    people: Mapping[str, Person]
    applications: Mapping[str, Application]
    identities: Mapping[str, Application]

    def application(self, client_id: str) -> Application | None:
        """The application with this client id."""
        return _by_client_id(self.applications, client_id)

    def identity(self, client_id: str) -> Application | None:
        """The managed identity with this client id."""
        return _by_client_id(self.identities, client_id)


PEOPLE = (
    Person("ada", "ed1bf663-4183-4555-b113-3ed7e5cc901b", "Ada Okafor", roles=("Postern.Operator",)),
    Person("lisa", "c33a0e11-b6a6-4ce1-b2e0-e5fbe1e362d2", "Lisa Moreau"),
    Person("gil", "fda52ac9-24fd-49e8-993d-37e9b11b2963", "Gil Amaro", guest=True),
)
REDIRECT_PATHS = ("/console/callback", "/console/signed-out")
"""The paths below Postern's address to which people are sent back."""

EXAMPLE_CONNECTION = "my-profile"
"""The connection of the example workflow, which a person connects by signing in here."""


def callback_path(connection: str) -> str:
    """The path below Postern's address to which people are sent back who connect this connection."""
    return f"/connect/{connection}/callback"


BUILT_IN_PATHS = (*REDIRECT_PATHS, callback_path(EXAMPLE_CONNECTION))
"""All paths of the built-in registration."""

SYSTEM_IDENTITY = Application(
    "server-identity",
    client_id="2b1c4c1d-6a0f-4d6c-8e53-27d1f0f0b7c3",
    object_id="9a4b1f3e-52c7-4f60-b7f5-0f4f1a6c8d21",
    reads_vault=True,
)
USER_IDENTITY = Application(
    "batch-identity",
    client_id="5d0e8a7b-31f4-4c7e-9a35-c2b8d7e61f90",
    object_id="e7c25d84-0b1a-49d8-8c6e-64b9f3d2a517",
)
POSTERN = Application(
    "postern",
    client_id="b84e6723-ae9b-4b47-9858-353ed3017a04",
    object_id="cf31a3d1-51ca-4531-8a0d-dcdd09bc4267",
    reads_vault=True,
    federated=(Federated("cluster", SERVICE_ACCOUNT),),
    redirect_uris=tuple(f"http://{host}{path}" for host in ("localhost", "127.0.0.1") for path in BUILT_IN_PATHS),
    multitenant=True,
)
_OF_CLIENTS = tuple(f"http://{host}{path}" for host in ("localhost", "127.0.0.1") for path in ("", "/", "/callback"))
"""Redirect URIs of programs that wait for the code on a port of their own (RFC 8252, section 7.3)."""

CODING_AGENT = Application(
    "coding-agent",
    client_id="3d6c1a52-7f0e-4b59-9c8a-51e2f7a4d863",
    object_id="c1f8b7d4-2e63-49a0-8d15-7b90e4c3a6f2",
    redirect_uris=_OF_CLIENTS,
    public=True,
)
BOOKING_AGENT = Application(
    "booking-agent",
    client_id="a7e4f2c9-5b18-4d36-8f71-0c92d6e3b5a8",
    object_id="6f3b9d1e-84c2-4a57-b0e6-d25c71f8934a",
    roles=("Workflow.Run",),
    redirect_uris=_OF_CLIENTS,
    blueprint="e94d0b6a-1c75-4f82-a3d9-58b6f7c2e014",
)
APPLICATIONS = (
    POSTERN,
    Application(
        "nightly-report",
        client_id="b887763a-dce6-4fd4-bb32-8306761e6cb2",
        object_id="83287ba9-7fc8-46dc-8ccb-90f5ac8bf20e",
        roles=("Workflow.Run",),
    ),
    Application(
        "backup-job",  # has no app role at all
        client_id="b0fbb178-e5d1-4c90-a6b3-05468bb92e40",
        object_id="87167135-e024-414d-b7f8-f295cafa43e9",
    ),
    Application(
        "invoice-export",
        client_id="0f6d2c58-94b3-4e1a-a1d7-5b8e3c70f246",
        object_id="31d7e9a6-c845-4b02-93fe-7a60d1b5c48f",
        roles=("Workflow.Run",),
        has_certificate=True,
        federated=(Federated("tenant", SYSTEM_IDENTITY.object_id), Federated("cluster", SERVICE_ACCOUNT)),
    ),
    CODING_AGENT,
    BOOKING_AGENT,
)
IDENTITIES = (SYSTEM_IDENTITY, USER_IDENTITY)


def directory_with(object_ids: Mapping[str, str]) -> Directory:
    """The built-in people and applications, and those of `[people]` (name to object id). A given id replaces the
    built-in one. `[people]` may also name applications and managed identities: the id is then their service
    principal's."""
    people = {person.name: person for person in PEOPLE}
    applications = {application.name: application for application in APPLICATIONS}
    identities = {identity.name: identity for identity in IDENTITIES}
    for name, given in object_ids.items():
        object_id = given.lower()
        if name in applications:
            applications[name] = replace(applications[name], object_id=object_id)
        elif name in identities:
            identities[name] = replace(identities[name], object_id=object_id)
        elif name in people:
            people[name] = replace(people[name], object_id=object_id)
        else:
            people[name] = Person(name, object_id, name.replace("-", " ").replace("_", " ").title())
    return Directory(people, applications, identities)


def _by_client_id(among: Mapping[str, Application], client_id: str) -> Application | None:
    return next((each for each in among.values() if each.client_id == client_id.lower()), None)
