"""Settings that are valid and probably a mistake."""

from pathlib import Path

import pytest

from postern.settings import load_settings
from postern.settings.warnings import environment_warnings, unknown_workflows, warnings

NOWHERE = Path("there-is-no-such-folder")
TENANT = "11111111-aaaa-4111-8111-111111111111"
CLIENT = "22222222-bbbb-4222-8222-222222222222"
BY_ID = f"https://{TENANT}.ciamlogin.com"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"audience": CLIENT}, []),
        ({"audience": f"api://{CLIENT}", "client_id": CLIENT}, []),
        ({"audience": f"api://{CLIENT}"}, ["POSTERN_CLIENT_ID is not set"]),
        ({"audience": "https://x.example/", "client_id": CLIENT}, ["https://x.example/ ends with a slash"]),
        ({"audience": f"api://y,{CLIENT}/"}, [f"{CLIENT}/ ends with a slash", "POSTERN_CLIENT_ID is not set"]),
        ({"authority": "https://contoso.ciamlogin.com"}, [f"Set POSTERN_AUTHORITY to {BY_ID}"]),
        ({"authority": "https://CONTOSO.ciamlogin.com"}, [f"issuer {BY_ID}/{TENANT}/v2.0"]),
        ({"authority": "https://contoso.ciamlogin.com"}, [f"expects https://contoso.ciamlogin.com/{TENANT}/v2.0"]),
        ({"authority": BY_ID}, []),
        ({"authority": "https://login.microsoftonline.us"}, []),
        ({"authority": "https://ciamlogin.com.example"}, []),
        ({"allowed_networks": "10.0.0.0/8"}, ["leaves out 127.0.0.1"]),
        ({"allowed_networks": "10.0.0.0/8", "public_url": "http://127.0.0.1:8080"}, ["leaves out 127.0.0.1"]),
        ({"allowed_networks": "10.0.0.0/8,127.0.0.0/8"}, []),
        ({"allowed_networks": "10.0.0.0/8", "public_url": "https://x.example"}, ["POSTERN_TRUSTED_PROXIES is not"]),
        ({"public_url": "https://x.example"}, []),
        (
            {"allowed_networks": "10.0.0.0/8", "public_url": "https://x.example", "trusted_proxies": "10.0.0.5"},
            [],
        ),
    ],
)
def test_each_warning_names_the_setting_and_what_to_do(settings: dict[str, str], words: list[str], tmp_path):
    environ = {f"POSTERN_{name.upper()}": value for name, value in settings.items()} | {"POSTERN_TENANT_ID": TENANT}
    found = warnings(load_settings(environ, folder=tmp_path))
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))
    assert all(text.startswith("POSTERN_") for text in found)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_that_is_not_read(name: str):
    environ = {name: "http://user:planted@proxy.example:3128"}
    [found] = environment_warnings(environ, load_settings({}, folder=NOWHERE))
    assert found.startswith(f"{name} is set, and Postern does not read it")
    assert "POSTERN_PROXY" in found
    assert "planted" not in found
    assert environment_warnings({}, load_settings({}, folder=NOWHERE)) == []
    own = load_settings({"POSTERN_PROXY": "http://proxy.example:3128"}, folder=NOWHERE)
    assert environment_warnings(environ, own) == []


def test_a_workflow_that_limits_or_the_access_review_name_and_there_is_not_is_a_warning():
    tables = {
        "limits": {"workflows": {"hello": {"per_caller": "1/second"}, "helo": {"per_caller": "1/second"}}},
        "access": {"anonymous": ["hello", "gone"]},
    }
    found = unknown_workflows(load_settings({}, folder=NOWHERE, defaults=tables), {"hello": True})
    assert [text.partition(". ")[0] for text in found] == [
        "postern.toml, limits.workflows.helo: there is no workflow helo",
        "postern.toml, access.anonymous: there is no workflow gone",
    ]
    assert unknown_workflows(load_settings({}, folder=NOWHERE), {}) == []


def test_a_workflow_that_the_access_review_expects_to_be_open_and_is_not_is_a_warning():
    settings = load_settings({}, folder=NOWHERE, defaults={"access": {"anonymous": ["hello", "payroll"]}})
    [found] = unknown_workflows(settings, {"hello": True, "payroll": False})
    assert found.startswith("postern.toml, access.anonymous: payroll is not open to anyone. Remove it")
