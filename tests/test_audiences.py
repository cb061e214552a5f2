"""What is an audience, and which ones name the same API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.audiences import could_be_ours, of_microsoft, wrong_with
from tests.table import table

CLIENT = "22222222-bbbb-4222-8222-222222222222"
OTHER = "33333333-cccc-4333-8333-333333333333"
GRAPH = "00000003-0000-0000-c000-000000000000"


@table(
    ("text", "wrong"),
    [
        ("api://postern", ""),
        (f"api://{CLIENT}", ""),
        (CLIENT, ""),
        (f"api://{CLIENT}/prod", ""),
        ("https://service.flow.microsoft.com/", ""),
        ("https://contoso.com/default", ""),
        ("api://postern/.default", "is a scope"),
        ("https://service.flow.microsoft.com//.default", "is a scope"),
        (f"api://{CLIENT}/user_impersonation", "is a scope"),
        ("api://postern/access_as_user", "is a scope"),
        ("api://postern/Workflow.Run.User", "is a scope"),
        ('"api://postern"', "quotes"),
        ("'api://postern'", "quotes"),
        ("\u201capi://postern\u201d", "quotes"),
    ],
)
def test_a_scope_and_a_quoted_text_are_no_audience(text: str, wrong: str):
    found, fix = wrong_with(text)
    assert (wrong in found, bool(found), bool(fix)) == (True, bool(wrong), bool(wrong))


@given(st.from_regex(r"(api|https)://[a-z0-9.-]{1,20}/?", fullmatch=True))
def test_the_scope_of_every_audience_is_a_scope_and_its_fix_is_the_audience(audience: str):
    assert wrong_with(audience) == ("", "")
    assert wrong_with(f"{audience}/.default")[1] == f"Write {audience}"


@table(
    ("found", "ours", "client_id", "could"),
    [
        (CLIENT, [f"api://{CLIENT}"], "", True),
        (f"api://{CLIENT}", [CLIENT], "", True),
        (f"api://{CLIENT}", ["api://postern"], CLIENT, True),
        (CLIENT, ["api://postern"], CLIENT, True),
        (OTHER, ["api://postern"], "", True),  # the client id of this server is not known
        (OTHER, ["api://postern"], CLIENT, False),
        (OTHER, ["api://postern", CLIENT], "", False),
        (OTHER, [f"api://{CLIENT}"], "", False),
        ("api://postern/", ["api://postern"], CLIENT, True),
        ("API://Postern", ["api://postern"], CLIENT, True),
        ("api://postern2", ["api://postern"], CLIENT, False),
        ("api://other", ["api://postern"], "", False),
        (GRAPH, ["api://postern"], "", False),
        ("", ["api://postern"], "", False),
    ],
)
def test_an_audience_could_be_ours_if_it_differs_in_its_form_only(found, ours, client_id, could):
    assert could_be_ours(found, ours, client_id) is could


@pytest.mark.parametrize(
    ("audience", "name"),
    [
        (GRAPH, "Microsoft Graph"),
        ("https://graph.microsoft.com", "Microsoft Graph"),
        ("https://graph.microsoft.com/", "Microsoft Graph"),
        ("https://management.core.windows.net/", "Azure Resource Manager"),
        (CLIENT, ""),
        ("https://graph.microsoft.com.example", ""),
    ],
)
def test_microsofts_own_apis_are_known_by_name(audience: str, name: str):
    assert of_microsoft(audience) == name
