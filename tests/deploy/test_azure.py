"""What can be said of `deploy/azure` without Bicep and without Azure: that its files agree with one another and with
the program. Whether Azure takes them only a deployment shows."""

import json
import re
import runpy
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from postern.api.access import OPERATOR_ROLE
from postern.journal.database.engine import migrate, open_engine
from postern.journal.reading.readers import READERS
from postern.settings import load_settings, settings_table
from tests.table import table

ROOT = Path(__file__).parents[2]
AZURE = ROOT / "deploy" / "azure"
TEMPLATES = sorted(AZURE.glob("**/*.bicep"))
APP = (AZURE / "app.bicep").read_text("utf-8")
ROLES = {
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
}
"""learn.microsoft.com/azure/role-based-access-control/built-in-roles"""
FROM_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "SERVICE_POSTERN_IMAGE_NAME"}
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parameters(template: Path) -> dict[str, bool]:
    """The parameters of a template, and whether each has a default."""
    found = re.findall(r"^param (\w+) (.*)$", template.read_text("utf-8"), re.MULTILINE)
    return {name: "=" in rest for name, rest in found}


def outputs(template: Path) -> set[str]:
    return set(re.findall(r"^output (\w+)", template.read_text("utf-8"), re.MULTILINE))


def given(template: Path) -> dict[str, str]:
    """What azd hands to the template."""
    document = json.loads(template.with_suffix(".parameters.json").read_text("utf-8"))
    return {name: entry["value"] for name, entry in document["parameters"].items()}


def settings_in(template: Path) -> dict[str, str]:
    """The container's variables, with texts that fit in the places of what the deployment fills in."""
    block = re.search(r"^var settings = \{\n(.*?)^\}", template.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    found = dict(re.findall(r"^  (\w+): (.+)$", block[1], re.MULTILINE))
    return {name: filled(value) for name, value in found.items()}


def filled(value: str) -> str:
    some_id = "00000000-0000-4000-8000-000000000001"
    known = {
        "address": "https://postern.example",
        "vaultUrl": "https://kv.vault.azure.net/",
        "trustedProxies": re.search(r"trustedProxies string = '([^']+)'", APP),
        "databaseHost": "server.postgres.database.azure.com",
        "identityName": "id-postern",
        "rolesName": "id-postern-database",
    }

    def of(name: str) -> str:
        found = known.get(name, some_id)
        return found if isinstance(found, str) else found[1]  # type: ignore[index]

    if value.startswith("'"):
        return re.sub(r"\$\{(\w+)\}", lambda part: of(part[1]), value.strip("'"))
    return of(value)


@pytest.mark.parametrize("name", ["main", "app"])
def test_azd_gives_each_template_what_it_requests_and_nothing_else(name):
    template = AZURE / f"{name}.bicep"
    received = parameters(template)
    assert set(given(template)) <= set(received)
    assert {parameter for parameter, has_default in received.items() if not has_default} <= set(given(template))


def test_what_the_app_needs_is_what_the_first_deployment_gave():
    """azd keeps outputs as variables of its environment."""
    known = outputs(AZURE / "main.bicep") | FROM_AZD
    for value in given(AZURE / "app.bicep").values():
        variable = re.fullmatch(r"\$\{(\w+)(=\w*)?\}", value)
        assert variable is not None, value
        assert variable[1] in known or variable[2], value


def test_what_was_chosen_for_the_first_deployment_holds_for_the_app():
    """azd keeps what is set in one environment, which both templates read."""
    assert given(AZURE / "app.bicep")["production"] == given(AZURE / "main.bicep")["production"]


def test_an_image_that_is_there_is_deployed_without_docker():
    """azd requires Docker before it reads --from-package, unless the registry builds."""
    (service,) = yaml.safe_load((AZURE / "azure.yaml").read_text("utf-8"))["services"].values()
    assert service["docker"]["remoteBuild"] is True


@pytest.mark.parametrize("template", ["main", "app", "database-role"])
def test_no_two_parts_of_a_deployment_have_one_name(template: str):
    """They are deployments of the same group, and `az` names the whole after its file."""
    files = [AZURE / f"{template}.bicep", *((AZURE / "modules").glob("*.bicep") if template == "main" else ())]
    text = "".join(file.read_text("utf-8") for file in files)
    names = re.findall(r"^module .+\n  name: '([^']+)'", text, re.MULTILINE)
    assert len(names) == len(re.findall(r"^module ", text, re.MULTILINE))
    assert len({*names, template}) == len(names) + 1


def test_the_database_takes_the_connections_of_two_revisions():
    """learn.microsoft.com/azure/postgresql/configure-maintain/concepts-limits"""
    user_connections = {"Standard_B1ms": 35, "Standard_D2ds_v5": 844}
    large, small = re.findall(r"'(Standard_\w+)'", (AZURE / "modules" / "database.bicep").read_text("utf-8"))
    replicas = re.search(r"maxReplicas int = .* == 'true' \? (\d+) : (\d+)$", APP, re.MULTILINE)
    assert replicas is not None
    for size, bound in zip((large, small), map(int, replicas.groups()), strict=True):
        assert 2 * bound * (READERS + 1) < user_connections[size], size


def test_azd_finds_the_files_that_are_named():
    document = yaml.safe_load((AZURE / "azure.yaml").read_text("utf-8"))
    assert (AZURE / document["infra"]["path"] / f"{document['infra']['module']}.bicep").is_file()
    (service,) = document["services"].values()
    assert (AZURE / service["project"]).resolve() == ROOT
    assert (AZURE / f"{service['module']}.bicep").is_file()
    if (ROOT / "deploy" / "container").is_dir():
        assert (ROOT / service["docker"]["path"]).is_file()


def test_modules_that_are_named_are_there_and_those_of_others_are_pinned():
    for template in TEMPLATES:
        for module in re.findall(r"^module \w+ '([^']+)'", template.read_text("utf-8"), re.MULTILINE):
            if module.startswith("br/public:"):
                assert re.fullmatch(r"br/public:avm/res/[a-z/-]+:\d+\.\d+\.\d+", module), module
            else:
                assert (template.parent / module).is_file(), module


def test_the_container_starts_with_its_settings(tmp_path):
    """Each is a real one, and together they make sense: the database's URL among them."""
    found = settings_in(AZURE / "app.bicep")
    assert {name for name in found if name.startswith("POSTERN_")} <= {row[0] for row in settings_table()}
    settings = load_settings(found, folder=tmp_path)
    assert "passwordless=entra" in settings.database_url
    assert settings.azure_credential == "managed_identity"
    assert len(settings.trusted_proxies) == 4
    assert settings.client_secret_name is None, "it signs in with its identity"


def test_the_job_starts_with_its_settings(tmp_path):
    assert (
        "passwordless=entra" in load_settings(settings_in(AZURE / "database-role.bicep"), folder=tmp_path).database_url
    )


def test_roles_are_few_and_known():
    ids = {found for template in TEMPLATES for found in GUID.findall(template.read_text("utf-8"))}
    assert ids == set(ROLES)


def test_a_registration_by_bicep_and_by_the_script_is_the_same_one():
    """Both read registration.json, whose roles are those that the program looks for."""
    document = json.loads((AZURE / "registration.json").read_text("utf-8"))
    assert {role["value"] for role in document["appRoles"]} == {"Workflow.Run", OPERATOR_ROLE}
    assert all(set(role["allowedMemberTypes"]) == {"User", "Application"} for role in document["appRoles"])
    (scope,) = document["api"]["oauth2PermissionScopes"]
    assert scope["value"] == "Workflow.Run.User"
    assert document["api"]["requestedAccessTokenVersion"] == 2
    assert document["signInAudience"] == "AzureADMyOrg"
    ids = [part["id"] for part in (*document["appRoles"], scope)]
    assert len({UUID(found) for found in ids}) == 3
    assert "loadJsonContent('../registration.json')" in (AZURE / "modules" / "registration.bicep").read_text("utf-8")
    assert "registration.json" in (AZURE / "register.sh").read_text("utf-8")


@table(
    ("template", "line"),
    [
        ("app.bicep", "ingressAllowInsecure: false"),
        ("main.bicep", "acrAdminUserEnabled: false"),
        ("main.bicep", "anonymousPullEnabled: false"),
        ("modules/vault.bicep", "enableRbacAuthorization: true"),
        ("modules/vault.bicep", "enablePurgeProtection: true"),
        ("modules/vault.bicep", "defaultAction: 'Deny'"),
        ("modules/vault.bicep", "enableVaultForDeployment: false"),
        ("modules/database.bicep", "passwordAuth: 'Disabled'"),
        ("modules/database.bicep", "publicNetworkAccess: 'Disabled'"),
    ],
)
def test_what_makes_it_safe_is_said(template, line):
    assert re.search(rf"^\s*{re.escape(line)}", (AZURE / template).read_text("utf-8"), re.MULTILINE)


def test_no_template_has_a_secret():
    for template in TEMPLATES:
        text = template.read_text("utf-8")
        assert not re.search(r"@secure|\bsecrets?:|listKeys|administratorLoginPassword", text), template


@pytest.fixture
def server(postgres_url):
    """A server on which Azure's function for roles is, in the one database where it is there."""
    admin = make_url(postgres_url).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION pgaadauth_create_principal_with_oid(name text, oid text, kind text, admin bool, mfa bool) "
            "RETURNS text LANGUAGE plpgsql AS $$ BEGIN ASSERT kind = 'service' AND NOT admin AND NOT mfa; "
            "EXECUTE format('CREATE ROLE %I LOGIN', name); RETURN oid; END $$"
        )
        try:
            yield admin
        finally:
            connection.execute("DROP DATABASE IF EXISTS postern WITH (FORCE)")
            connection.execute('DROP ROLE IF EXISTS "id-postern"')
            connection.execute("DROP FUNCTION pgaadauth_create_principal_with_oid")


def test_the_job_makes_a_role_that_can_do_what_postern_does_and_no_more(server, monkeypatch, tmp_path, capsys):
    """Run twice, as a job may be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTERN_DATABASE_URL", server)
    monkeypatch.setenv("DATABASE_ROLE", "id-postern")
    monkeypatch.setenv("DATABASE_ROLE_OBJECT_ID", "9a4b1f3e-52c7-4f60-b7f5-0f4f1a6c8d21")
    for _ in range(2):
        runpy.run_path(str(AZURE / "database_role.py"), run_name="__main__")
    assert "the role id-postern may make its tables" in capsys.readouterr().out
    own = make_url(server).set(username="id-postern", password=None, database="postern")
    engine = open_engine(own.render_as_string(hide_password=False), writing=True)
    migrate(engine)
    engine.dispose()
    with psycopg.connect(server) as connection:
        rights = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = 'id-postern'"
        assert connection.execute(rights).fetchone() == (False, False, False, False)
