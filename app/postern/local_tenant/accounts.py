"""Accounts of people in several tenants: this one, and the one where guests are at home. Pure.

At `organizations` and `common` people sign in with their account at home. Reference:
learn.microsoft.com/entra/identity-platform/v2-protocols, and howto-convert-app-to-be-multi-tenant.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from postern.local_tenant.directory import FOREIGN_DOMAIN, FOREIGN_TENANT_ID, TENANT_ID, Application, Person
from postern.local_tenant.errors import EntraError
from postern.local_tenant.tokens import issuer

SHARED = ("organizations", "common")
TEMPLATE = "{tenantid}"
"""In place of a tenant in the issuer of the metadata of several tenants, literally."""


@dataclass(frozen=True, slots=True)
class Account:
    """A person as one tenant knows them."""

    person: Person
    tenant_id: str


def check_endpoint(at: str) -> str:
    """The part of a path that names a tenant, in lower case. Raises EntraError for an unknown one."""
    if at.lower() not in (TENANT_ID, FOREIGN_TENANT_ID, *SHARED):
        raise EntraError(400, "invalid_request", 90002, "There is no such tenant here.")
    return at.lower()


def check_application(application: Application, at: str) -> None:
    """Raise EntraError if an application of one tenant is used at the endpoint of several."""
    if at != TENANT_ID and not application.multitenant:
        raise EntraError(400, "invalid_request", 50194, "The application is not configured for several tenants.")


def issuer_of_metadata(authority: str, at: str) -> str:
    """The issuer in the metadata of an endpoint."""
    return issuer(2, authority, TEMPLATE if at in SHARED else at)


def account(person: Person, at: str) -> Account | None:
    """The account of a person at an endpoint; None if there is none."""
    if at == TENANT_ID or (at in SHARED and not person.guest):
        return Account(person, TENANT_ID)
    if not person.guest:
        return None
    at_home = str(uuid.uuid5(uuid.UUID(FOREIGN_TENANT_ID), person.object_id))
    return Account(replace(person, object_id=at_home, guest=False, domain=FOREIGN_DOMAIN), FOREIGN_TENANT_ID)


def with_object_id(people: Iterable[Person], object_id: str) -> Person | None:
    """The person of whom this is the object id, as the tenant of that id knows them: here, or at home."""
    accounts = (account(person, at) for person in people for at in (TENANT_ID, FOREIGN_TENANT_ID))
    return next((each.person for each in accounts if each is not None and each.person.object_id == object_id), None)
