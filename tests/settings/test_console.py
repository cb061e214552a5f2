"""What the console needs of the settings, and what is said to be missing."""

from typing import Any

import pytest

from postern.settings import load_settings
from postern.settings.console import missing_for_console

COMPLETE = {
    "POSTERN_PUBLIC_URL": "https://postern.example",
    "POSTERN_TENANT_ID": "11111111-aaaa-4111-8111-111111111111",
    "POSTERN_CLIENT_ID": "44444444-dddd-4444-8444-444444444444",
    "POSTERN_CLIENT_SECRET_NAME": "postern-secret",
    "POSTERN_KEY_VAULT_URL": "https://vault.example",
}


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({}, ""),
        ({"POSTERN_CONSOLE": "operators"}, ""),
        ({"POSTERN_CONSOLE": "off"}, "POSTERN_CONSOLE is off"),
        ({"POSTERN_PUBLIC_URL": ""}, "POSTERN_PUBLIC_URL is not set"),
        ({"POSTERN_TENANT_ID": ""}, "POSTERN_TENANT_ID is not set"),
        ({"POSTERN_CLIENT_ID": ""}, "POSTERN_CLIENT_ID is not set"),
        ({"POSTERN_KEY_VAULT_URL": ""}, "POSTERN_KEY_VAULT_URL is not set"),
        ({"POSTERN_CLIENT_SECRET_NAME": ""}, "POSTERN_CLIENT_SECRET_NAME"),
        ({"POSTERN_CLIENT_SECRET_NAME": "", "POSTERN_AZURE_CREDENTIAL": "managed_identity"}, ""),
        ({"POSTERN_CLIENT_SECRET_NAME": "", "POSTERN_AZURE_CREDENTIAL": "workload_identity"}, ""),
        ({"POSTERN_CLIENT_SECRET_NAME": "", "POSTERN_AZURE_CREDENTIAL": "developer"}, "POSTERN_AZURE_CREDENTIAL"),
        ({"POSTERN_PUBLIC_URL": "http://postern.example"}, "not https"),
        ({"POSTERN_PUBLIC_URL": "https://postern.example/a;script-src"}, "has ;, which Entra takes in no redirect URI"),
        ({"POSTERN_PUBLIC_URL": "https://postern.example/a,b"}, "has ,, which Entra takes in no redirect URI"),
        ({"POSTERN_PUBLIC_URL": "http://127.0.0.1:8080"}, ""),
        ({"POSTERN_PUBLIC_URL": "http://localhost:8080/base"}, ""),
    ],
)
def test_what_is_missing_is_named_by_its_setting(tmp_path: Any, change: dict[str, str], missing: str):
    environ = {name: value for name, value in (COMPLETE | change).items() if value}
    found = missing_for_console(load_settings(environ, folder=tmp_path))
    assert len(found) == bool(missing)
    assert not missing or missing in found[0]


def test_everything_that_is_missing_is_named_at_once(tmp_path: Any):
    assert len(missing_for_console(load_settings({}, folder=tmp_path))) == 4


def test_a_server_with_the_local_tenant_is_reached_at_its_own_address(tmp_path: Any):
    settings = load_settings(COMPLETE | {"POSTERN_PUBLIC_URL": "http://postern.example"}, folder=tmp_path)
    assert not missing_for_console(settings, "http://127.0.0.1:8080")
