"""The page about registrations names what the registration and the program have."""

import json
import re
import tomllib

from postern.access import Guarded, bind, specific_users
from postern.connections.auth.entra_errors import FAULTS
from postern.identity.token import RULES
from postern.local_tenant.directory import REDIRECT_PATHS
from postern.settings import load_settings
from tests.process.servers import ROOT

PAGE = (ROOT / "deploy" / "entra" / "README.md").read_text(encoding="utf-8")
REGISTRATION = json.loads((ROOT / "deploy" / "azure" / "registration.json").read_text(encoding="utf-8"))
ID = "00000000-0000-4000-8000-000000000001"


def first_cells(heading: str) -> str:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(row.split(" | ")[0] for row in section.splitlines() if row.startswith("| "))


def test_every_error_that_connections_explain_has_a_row():
    named = {int(code) for code in re.findall(r"AADSTS(\d+)", first_cells("Errors of Entra"))}
    assert set(FAULTS) - named == set()


def test_the_scope_and_roles_are_those_of_the_registration():
    scopes = [scope["value"] for scope in REGISTRATION["api"]["oauth2PermissionScopes"]]
    roles = [role["value"] for role in REGISTRATION["appRoles"]]
    assert [value for value in [*scopes, *roles] if f"`{value}`" not in PAGE] == []
    assert set(re.findall(r"appRoles\[\?value=='([^']+)'\]", PAGE)) == {"Workflow.Run"} <= set(roles)
    assert set(re.findall(r"oauth2PermissionScopes\[\?value=='([^']+)'\]", PAGE)) == set(scopes)
    assert REGISTRATION["api"]["requestedAccessTokenVersion"] == 2


def test_the_redirect_uris_are_those_of_the_console():
    section = PAGE.split("\n## 4. The console\n")[1].split("\n## ")[0]
    for path in REDIRECT_PATHS:
        assert f"https://postern.example.com{path}" in section


def test_the_checks_are_the_programs():
    policy = bind(
        specific_users(ID, scopes=["s"], roles=["r"], apps=False), people={}, tenants=[ID], audiences=["api://x"]
    )
    assert isinstance(policy, Guarded)
    known = {rule.name for rule in RULES} | {requirement.name for requirement in policy.requirements}
    named = set(re.findall(r"`([a-z-]+)`", first_cells("Rejections by Postern")))
    assert named
    assert named <= known


def test_the_settings_are_accepted():
    text = PAGE.split("```toml\n")[1].split("```")[0]
    settings = load_settings({}, folder=ROOT / "no-such-folder", defaults=tomllib.loads(text))
    assert settings.audience == (settings.client_id, f"api://{settings.client_id}")
    assert set(settings.people) == {"lisa", "orders", "postern"}
