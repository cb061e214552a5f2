"""`postern export connector` writes two files, and says what was lost, what is left out and what is left to do."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import Result

from postern.local_tenant.directory import PEOPLE
from tests.cli.conftest import Postern
from tests.openapi.lint import breaches

pytestmark = pytest.mark.slow

TENANT = "11111111-2222-4333-8444-555555555555"
CLIENT = "22222222-3333-4444-8555-666666666666"
OWN_CLIENT = "33333333-4444-4555-8666-777777777777"
REAL = {
    "POSTERN_TENANT_ID": TENANT,
    "POSTERN_AUDIENCE": f"api://postern,{CLIENT}",
    "POSTERN_PUBLIC_URL": "https://postern.example.com",
}
PEOPLE_TABLE = f'[people]\nlisa = "{PEOPLE[1].object_id}"\npostern = "{PEOPLE[0].object_id}"\n'
FILES = ("apiDefinition.swagger.json", "apiProperties.json")


@pytest.fixture(autouse=True)
def settings_file(folder: Path) -> None:
    (folder / "postern.toml").write_text(PEOPLE_TABLE, encoding="utf-8")


def export(postern: Postern, *options: str, **environ: str) -> Result:
    return postern("export", "connector", *options, **{**REAL, **environ})


def flat(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


def actions(folder: Path) -> list[str]:
    definition = json.loads((folder / FILES[0]).read_text())
    return sorted(one["operationId"] for item in definition["paths"].values() for one in item.values())


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (
            "entra",
            [
                "BookDesk",
                "BookRoom",
                "FindPeople",
                "Hello",
                "IssueBadge",
                "MyProfile",
                "OrderLaptop",
                "Payroll",
                "RegisterVisitor",
                "RequestLeave",
                "Whoami",
            ],
        ),
        ("api_key", ["BookDesk", "FindPeople", "Hello", "RegisterVisitor", "Whoami"]),
        ("basic", ["BookDesk", "FindPeople", "Hello", "RegisterVisitor", "Whoami"]),
        ("none", ["Hello", "RegisterVisitor"]),
    ],
)
def test_the_example_workflows_are_exported_by_the_rules(
    postern: Postern, folder: Path, auth: str, expected: list[str]
):
    result = export(postern, "--auth", auth)
    assert (result.exit_code, result.stderr) == (0, "")
    assert actions(folder / "connector") == expected
    definition, properties = (json.loads((folder / "connector" / name).read_text()) for name in FILES)
    assert breaches(definition, properties) == []
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", result.stdout, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_nothing_private_stands_in_the_files(postern: Postern, folder: Path):
    export(postern, "--client-id", OWN_CLIENT)
    text = "".join((folder / "connector" / name).read_text() for name in FILES)
    for person in PEOPLE:
        assert person.object_id not in text
        assert person.display_name not in text
    assert str(folder) not in text
    assert "workflows/" not in text
    assert "ecret" not in text
    assert set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)) == {TENANT, OWN_CLIENT}


def test_the_steps_have_the_values_filled_in(postern: Postern):
    said = flat(export(postern, "--client-id", OWN_CLIENT, "--title", "Rooms", "--output", "out"))
    for value in (
        *(f"client id {OWN_CLIENT}", "Resource URL api://postern", f"Tenant ID {TENANT}", "Workflow.Run.User"),
        *("Authorization URL https://login.microsoftonline.com", "grant admin consent", "Redirect URL", "name Rooms"),
        *("file out/apiDefinition.swagger.json", "into no file", "run BookDesk"),
        "pac connector create --api-definition-file out/apiDefinition.swagger.json",
    ):
        assert value in said


def test_without_a_client_id_a_placeholder_is_written_and_reported(postern: Postern, folder: Path):
    said = flat(export(postern))
    assert "No --client-id was given" in said
    assert "CLIENT-ID-OF-THE-CONNECTOR" in (folder / "connector" / FILES[1]).read_text()


def test_left_out_workflows_and_lost_details_are_reported(postern: Postern):
    said = flat(export(postern, "--auth", "basic"))
    assert "book-room: It is for people only" in said
    assert "payroll: It is only for the callers on its list" in said
    said = flat(export(postern, "--output", "other"))
    assert "at /paths/~1triggers~1payroll/post/responses/200" in said
    assert "payroll: Only callers on its list may use it" in said


def test_some_workflows_can_be_chosen(postern: Postern, folder: Path):
    export(postern, "--workflow", "hello", "--workflow", "payroll")
    assert actions(folder / "connector") == ["Hello", "Payroll"]


def test_files_that_are_there_are_left_alone_unless_forced(postern: Postern, folder: Path):
    (folder / "connector").mkdir()
    (folder / "connector" / FILES[1]).write_text("mine")
    refused = export(postern)
    assert refused.exit_code == 1
    assert "--force" in flat(refused)
    assert (folder / "connector" / FILES[1]).read_text() == "mine"
    assert not (folder / "connector" / FILES[0]).exists()
    assert export(postern, "--force").exit_code == 0
    assert (folder / "connector" / FILES[1]).read_text() != "mine"


def test_a_folder_that_cannot_be_written_is_an_error(postern: Postern, folder: Path):
    (folder / "file").write_text("")
    result = export(postern, "--output", "file/inside")
    assert result.exit_code == 1
    assert "--output" in flat(result)


@pytest.mark.parametrize(
    ("options", "environ", "expected"),
    [
        ([], {"POSTERN_PUBLIC_URL": ""}, "POSTERN_PUBLIC_URL"),
        ([], {"POSTERN_PUBLIC_URL": "http://127.0.0.1:8080"}, "Set POSTERN_PUBLIC_URL to"),
        (["--host", "http://postern.example.com"], {}, "--host: http://postern.example.com is not https"),
        (["--host", "localhost"], {}, "cannot reach localhost"),
        ([], {"POSTERN_AUDIENCE": "api://a,api://b"}, "Choose one with --resource: api://a, api://b"),
        (["--resource", "api://c"], {}, "choose an entry of POSTERN_AUDIENCE"),
        (["--client-id", "postern"], {}, "--client-id: not a client id"),
        (["--client-id", CLIENT], {}, "Postern's own registration"),
        (["--client-id", OWN_CLIENT, "--auth", "none"], {}, "--client-id is for --auth entra"),
        (["--resource", "api://postern", "--auth", "basic"], {}, "--resource is for --auth entra"),
        (["--auth", "api_key", "--key-header", "Authorization"], {}, "Authorization is for tokens"),
        (["--auth", "api_key", "--key-header", "a: b"], {}, "--key-header"),
        (["--title", "API"], {}, "--title"),
        (["--workflow", "missing"], {}, "The workflows are: book-desk"),
        (["--auth", "none", "--workflow", "payroll"], {}, "--auth none reaches none"),
    ],
    ids=str,
)
def test_an_impossible_export_is_an_error_with_the_fix(
    postern: Postern, folder: Path, options: list[str], environ: dict[str, str], expected: str
):
    result = export(postern, *options, **environ)
    assert result.exit_code == 2
    assert expected in flat(result)
    assert not (folder / "connector").exists()


def test_the_local_tenant_is_nothing_that_the_platform_can_reach(postern: Postern):
    result = postern("export", "connector", "--host", "postern.example.com")
    assert result.exit_code == 2
    assert "POSTERN_TENANT_ID" in flat(result)
    assert postern("export", "connector", "--host", "postern.example.com", "--auth", "none").exit_code == 0


@pytest.mark.parametrize(
    ("audience", "resource", "expected"),
    [
        (CLIENT, CLIENT, "no Application ID URI"),
        ("api://postern", "api://postern", "no client id, and POSTERN_CLIENT_ID is not set"),
        (f"api://postern,{CLIENT}", "api://postern", ""),
    ],
)
def test_the_resource_is_the_uri_or_else_the_client_id(
    postern: Postern, folder: Path, audience: str, resource: str, expected: str
):
    said = flat(export(postern, POSTERN_AUDIENCE=audience))
    assert expected in said
    assert ("POSTERN_AUDIENCE has no" in said) is bool(expected)
    settings = json.loads((folder / "connector" / FILES[1]).read_text())["properties"]["connectionParameters"]
    assert settings["token"]["oAuthSettings"]["customParameters"]["resourceUri"] == {"value": resource}


def test_a_workflow_for_another_audience_than_the_resource_is_left_out(postern: Postern, folder: Path):
    text = "from postern import tenant_users, workflow\n"
    for name, audience in (("first", "api://a"), ("second", "api://b"), ("newer", CLIENT)):
        text += f"@workflow(access=tenant_users(audiences=['{audience}']))\nasync def {name}(ctx): ...\n"
    (folder / "workflows" / "audiences.py").write_text(text, encoding="utf-8")
    said = flat(export(postern, "--resource", "api://a", POSTERN_AUDIENCE=f"api://a,api://b,{CLIENT}"))
    assert "second: It accepts only tokens for other audiences" in said
    assert {"First", "Newer"} <= set(actions(folder / "connector"))
    assert "Second" not in actions(folder / "connector")


@pytest.mark.parametrize(
    ("cloud", "login"),
    [("usgov", "https://login.microsoftonline.us"), ("china", "https://login.partner.microsoftonline.cn")],
)
def test_another_cloud_signs_in_at_its_own_place(postern: Postern, folder: Path, cloud: str, login: str):
    export(postern, POSTERN_CLOUD=cloud)
    definition, properties = ((folder / "connector" / name).read_text() for name in FILES)
    assert f"{login}/{TENANT}/oauth2/authorize" in definition
    assert login in properties
    assert "azure-apim.net" not in properties


def test_a_faulty_workflow_stops_the_export_unless_it_may_be_partial(postern: Postern, folder: Path):
    (folder / "workflows" / "broken.py").write_text("import nowhere\n")
    assert export(postern).exit_code == 1
    assert not (folder / "connector").exists()
    assert export(postern, "--partial").exit_code == 0
