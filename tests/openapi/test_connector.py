"""The two files of a connector follow the platform's rules for all workflows, and reveal nothing private."""

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from postern.authoring.workflow import workflow
from postern.catalog import Trigger
from postern.openapi.connector import (
    DEFINITION_FILE,
    PROPERTIES_FILE,
    Address,
    Connector,
    address_of,
    connector_of,
)
from postern.openapi.connector_auth import NO_CLIENT_YET, ApiKey, Basic, Entra, NoSignIn, SignIn
from postern.openapi.connector_texts import summary_of
from postern.openapi.connector_triggers import Visitor, Way, choose
from postern.openapi.document import openapi_document
from postern.openapi.export_error import ExportFault
from postern.settings.installation import Installation
from tests.openapi import nasty
from tests.openapi.lint import EXCEPTIONS, PROPERTIES_RULES, breaches
from tests.table import table

pytestmark = pytest.mark.slow

ADDRESS = Address("postern.example.com", "/base")
WAYS: dict[Way, SignIn] = {
    "entra": Entra("api://postern", nasty.TENANT, "https://login.microsoftonline.com"),
    "api_key": ApiKey(),
    "basic": Basic(),
    "none": NoSignIn(),
}


@cache
def exported(way: Way) -> Connector:
    return make(nasty.triggers(), way)


def make(triggers: dict[str, Trigger], way: Way = "entra", title: str = "Rooms and desks") -> Connector:
    choice = choose(triggers, Visitor(way, nasty.TENANT, None, nasty.AUDIENCES))
    installation = Installation("https://postern.example.com", "https://login.microsoftonline.com", nasty.TENANT)
    return connector_of(openapi_document(choice.triggers, installation), ADDRESS, WAYS[way], title)


def operation(made: Connector, operation_id: str) -> dict[str, Any]:
    found = [one for item in made.definition["paths"].values() for one in item.values()]
    return next(one for one in found if one["operationId"] == operation_id)


@pytest.mark.parametrize("way", WAYS)
def test_the_definition_is_valid_openapi_2(way: Way):
    validate(exported(way).definition)


@pytest.mark.parametrize("way", WAYS)
def test_the_files_keep_to_the_rules_of_the_platform(way: Way):
    made = exported(way)
    assert breaches(made.definition, made.properties) == []


def test_each_exception_to_the_rules_is_needed():
    made = exported("entra")
    breaches = [each for rule in PROPERTIES_RULES for each in rule.breaches(made.properties)]
    assert EXCEPTIONS - set(breaches) == {"Privacy policy"}


@pytest.mark.parametrize("way", WAYS)
def test_the_files_are_ascii_json_that_any_tool_reads(way: Way):
    files = exported(way).files()
    assert list(files) == [DEFINITION_FILE, PROPERTIES_FILE]
    assert all(text.isascii() and text.endswith("}\n") and json.loads(text) for text in files.values())


@pytest.mark.parametrize("way", WAYS)
def test_the_files_reveal_no_ids_and_no_places(way: Way):
    text = "".join(exported(way).files().values())
    for private in (nasty.PERSON, nasty.CALLING_APP, str(nasty.HERE), "/srv/", "x-postern", "secret", "Secret"):
        assert private not in text
    guids = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))
    assert guids == ({nasty.TENANT} if way == "entra" else set())


def test_entra_asks_for_the_resource_in_the_tenant():
    token = exported("entra").properties["properties"]["connectionParameters"]["token"]
    settings = token["oAuthSettings"]
    assert (token["type"], settings["identityProvider"], settings["clientId"]) == ("oauthSetting", "aad", NO_CLIENT_YET)
    assert settings["redirectMode"] == "GlobalPerConnector"
    assert settings["properties"]["AzureActiveDirectoryResourceId"] == "api://postern"
    assert {name: each["value"] for name, each in settings["customParameters"].items()} == {
        "loginUri": "https://login.microsoftonline.com",
        "tenantId": nasty.TENANT,
        "resourceUri": "api://postern",
        "enableOnbehalfOfLogin": "false",
    }
    assert "clientSecret" not in json.dumps(settings)


def test_where_the_cloud_is_another_the_redirect_url_is_left_to_the_platform():
    settings = Entra("api://postern", nasty.TENANT, "https://login.microsoftonline.us", redirect_url=None).parameters()
    assert "redirectUrl" not in settings["token"]["oAuthSettings"]


def test_keys_and_passwords_are_typed_in_by_the_maker_of_a_connection():
    key = exported("api_key")
    assert key.definition["securityDefinitions"]["api_key"]["name"] == "Ocp-Apim-Subscription-Key"
    parameters = exported("basic").properties["properties"]["connectionParameters"]
    constraints = {name: each["uiDefinition"]["constraints"] for name, each in parameters.items()}
    assert constraints == {
        "username": {"tabIndex": 2, "clearText": True, "required": "true"},
        "password": {"tabIndex": 3, "clearText": False, "required": "true"},
    }
    assert exported("none").properties["properties"]["connectionParameters"] == {}


def test_a_name_that_breaks_a_rule_is_changed_and_reported():
    made = exported("entra")
    shown = operation(made, "PostEveryThing")["summary"]
    assert shown.startswith("Do everything or anything at once (with")
    assert shown.endswith(" by POST")
    assert len(shown) <= 80
    assert any("Do everything/anything" in loss.what for loss in made.losses)
    titled = made.definition["definitions"]["Everything_Input"]["properties"]["camelCase"]
    assert titled["x-ms-summary"] == "A title of its own or with a slash"


def test_the_methods_of_a_workflow_can_be_distinguished():
    item = exported("entra").definition["paths"]["/triggers/every-thing/{colour}/{size}/{day}/{rest}"]
    names = [operation["summary"] for operation in item.values()]
    assert len(names) > 1
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("Approve 50% of <all> & more? <b>Do it</b>.", "Approve 50 percent of all and more Do it"),
        ("Send a *bold* C:\\\\path / file?", "Send a bold C: path or file"),
        ("a<br/>b > c", "A b c"),
    ],
)
def test_a_summary_has_none_of_the_characters_that_the_platform_rejects(docstring: str, summary: str):
    function = lambda_of()
    function.__doc__ = docstring
    made = make(nasty.triggers(workflow(name="book-room")(function)))
    assert operation(made, "BookRoom")["summary"] == summary
    assert breaches(made.definition, made.properties) == []
    assert any(repr(summary) in loss.what for loss in made.losses)


@given(st.text(max_size=120), st.sampled_from(["", " by GET"]))
def test_any_text_becomes_a_summary_by_the_rules_or_nothing(wanted: str, end: str):
    text = summary_of(wanted, end).text
    assert len(text) <= 80
    assert not set(text) & set("/\\<>*%&?")
    assert not text or (text[-1].isalnum() and text == " ".join(text.split()))


@pytest.mark.parametrize("docstring", ["???", "...!", "🎉", "%&*", "<>", ""])
def test_an_operation_has_a_name_with_any_docstring(docstring: str):
    function = lambda_of()
    function.__doc__ = docstring
    made = make(nasty.triggers(workflow(name="book-room")(function)))
    assert operation(made, "BookRoom")["summary"] == "Book room"
    assert breaches(made.definition, made.properties) == []


def test_members_are_shown_by_their_titles_or_names():
    members = exported("entra").definition["definitions"]["Everything_Input"]["properties"]
    assert members["pause"]["x-ms-summary"] == "Pause"
    assert members["odd name/with ~ signs"]["x-ms-summary"] == "Odd Name or With ~ Signs"
    assert members["odd name/with ~ signs"]["description"] == "No mark at the end."


def test_a_description_says_more_than_the_summary():
    assert operation(exported("entra"), "Payroll")["description"] == "Run the payroll. Runs the workflow payroll."
    assert operation(exported("entra"), "Tree")["description"].endswith(".")


def test_the_idempotency_key_is_there_for_those_who_look_for_it():
    found = {part["name"]: part for part in operation(exported("entra"), "Payroll")["parameters"]}
    assert found["Idempotency-Key"]["x-ms-visibility"] == "advanced"
    assert found["Idempotency-Key"]["required"] is False


def test_a_get_that_needs_a_body_is_omitted_and_reported():
    made = exported("entra")
    assert "needs-a-body" not in made.workflows()
    assert any("needs-a-body" in loss.where and "omitted" in loss.what for loss in made.losses)
    assert [part["in"] for part in operation(made, "Look")["parameters"]] == []
    assert "requires one" in " ".join(loss.what for loss in made.losses)


def test_a_connector_without_any_action_is_rejected():
    with pytest.raises(ExportFault, match="Give one of them a POST"):
        make(nasty.triggers(nasty.needs_a_body))


def test_recursive_schemas_are_cut_and_reported():
    made = exported("none")
    node = made.definition["definitions"]["Node_Input"]["properties"]
    assert node["children"]["items"] == {"type": "object"}
    assert node["left"]["type"] == "object"
    assert "properties" not in node["left"]
    assert any("contains itself" in loss.what for loss in made.losses)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ("Rooms", "Rooms"),
        ("Rooms API Connector", "Rooms"),
        ("Power Automate rooms", "rooms"),
        ("Rooms for Copilot Studio", "Rooms for"),
        ("The rooms and desks of the head office", "The rooms and desks of the"),
        ("Räume & Tische", "Räume & Tische"),
        ("x" * 40, "x" * 30),
    ],
)
def test_a_title_keeps_to_the_rules(wanted: str, shown: str):
    made = make(nasty.triggers(nasty.tree), title=wanted)
    assert made.definition["info"]["title"] == shown
    assert breaches(made.definition, made.properties) == []
    assert any("title" in loss.what for loss in made.losses) == (wanted != shown)


@pytest.mark.parametrize("wanted", ["", "API", "Power Apps connector", "***", "-- (.)"])
def test_a_title_of_which_nothing_is_left_is_rejected(wanted: str):
    with pytest.raises(ExportFault, match="--title"):
        make(nasty.triggers(nasty.tree), title=wanted)


@pytest.mark.parametrize(
    ("written", "host", "base_path"),
    [
        ("https://postern.example.com", "postern.example.com", "/"),
        ("postern.example.com", "postern.example.com", "/"),
        ("https://Postern.Example.com:443/", "postern.example.com", "/"),
        ("https://gw.example.com:8443/a/b/", "gw.example.com:8443", "/a/b"),
        ("https://8.8.8.8", "8.8.8.8", "/"),
    ],
)
def test_the_address_is_taken_apart(written: str, host: str, base_path: str):
    assert address_of(written, "--host") == Address(host, base_path)


@table(
    "written",
    [
        *(
            "http://postern.example.com",
            "http://127.0.0.1:8080",
            "127.0.0.1",
            "https://localhost",
            "postern",
            "10.0.0.5",
        ),
        *(
            "https://[::1]",
            "https://[2606:4700::1111]",
            "x.local",
            "a.svc.cluster.local",
            "https://",
            "169.254.169.254",
        ),
        *(
            "https://u:p@postern.example.com",
            "postern.example.com?x=1",
            "https://a.example.com:port",
            "ftp://a.example",
        ),
        *("https://{host}.example.com", "a b.example.com", "https://bücher.example.com", "https://a.example.com/b c"),
    ],
)
def test_an_address_that_the_platform_cannot_reach_is_rejected_with_the_fix(written: str):
    with pytest.raises(ExportFault, match=r"^POSTERN_PUBLIC_URL: .*Set POSTERN_PUBLIC_URL to"):
        address_of(written, "POSTERN_PUBLIC_URL")


def test_two_workflows_of_a_catalog_never_share_an_operation():
    made = make(nasty.triggers(*(workflow(name=name)(lambda_of()) for name in ("a-b", "ab", "a-b2"))))
    ids = [one["operationId"] for item in made.definition["paths"].values() for one in item.values()]
    assert len({each.lower() for each in ids}) == 3


def lambda_of() -> Any:
    async def run(ctx: Any) -> None:
        """Run."""

    return run


def test_a_durable_workflow_keeps_its_202_in_the_definition():
    """The platform then asks at Location until there is a result."""

    @workflow(durable=True)
    async def long(ctx, name: str) -> str:
        """Take long."""
        return name

    made = make(nasty.triggers(long))
    validate(made.definition)
    assert not breaches(made.definition, made.properties)
    assert {"200", "202"} <= set(operation(made, "Long")["responses"])
