"""Each option of the access modes is known to everything that describes access: a new one is found missing here."""

from dataclasses import fields
from typing import Any

import pytest

from postern.access import TenantUsers, bind, tenant_users
from postern.cli.catalog_output import describe
from postern.console.access_words import access_words
from postern.openapi.operations import conditions_of
from postern.security.audit.workflows import access_facts

ID = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"
NARROWED: dict[str, Any] = {
    "scopes": ["Run"],
    "roles": ["Clerk"],
    "clients": [OTHER],
    "apps": False,
    "guests": False,
    "agents": False,
    "audiences": ["api://other"],
    "tenants": [OTHER],
    "auth_context": "strong",
}
OF_THE_SERVER = {"audiences", "tenants"}
"""Replace those of the settings: /docs does not show them to callers."""


def described(**options: Any) -> dict[str, Any]:
    access = tenant_users(**options)
    policy = bind(access, people={}, tenants=[ID], audiences=["api://postern"], auth_contexts={"strong": "c1"})
    return {
        "postern list": describe(access, policy),
        "console and review": access_words(access, policy),
        "audit log": access_facts(access, policy),
        "/docs": conditions_of(access),
        "requirements": [(each.name, each.expected) for each in policy.requirements],
    }


@pytest.mark.parametrize("option", [each.name for each in fields(TenantUsers)])
def test_an_option_shows_wherever_access_is_described(option: str):
    plain, narrowed = described(), described(**{option: NARROWED[option]})
    same = {place for place, text in narrowed.items() if text == plain[place]}
    assert same == ({"/docs"} if option in OF_THE_SERVER else set())
