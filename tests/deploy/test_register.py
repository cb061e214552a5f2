"""`deploy/azure/register.sh` against a stand-in for the Azure CLI, which the script finds on its PATH."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postern.local_tenant.directory import REDIRECT_PATHS, callback_path

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "azure" / "register.sh"
STUB = Path(__file__).with_name("az_stub.py")
TENANT = "e2fc6e45-07a1-47e5-a6c7-2a3740ea3a7a"
CLIENT = "b84e6723-ae9b-4b47-9858-353ed3017a04"
OBJECT = "cf31a3d1-51ca-4531-8a0d-dcdd09bc4267"
IDENTITY = "9a4b1f3e-52c7-4f60-b7f5-0f4f1a6c8d21"
NOTHING_YET = {
    "account show": TENANT,
    "cloud show --query name": "AzureCloud",
    "cloud show --query endpoints.microsoftGraphResourceId": "https://graph.microsoft.com/",
    "cloud show --query endpoints.activeDirectory": "https://login.microsoftonline.com",
    "ad app create": CLIENT,
    f"ad app show --id {CLIENT}": OBJECT,
}
ALL_THERE = {
    **NOTHING_YET,
    "ad app list": CLIENT,
    "ad sp list": IDENTITY,
    "ad app federated-credential list": f"{OBJECT}\n{IDENTITY}",
}


@dataclass
class Ran:
    """What a run of the script came to."""

    code: int
    out: str
    err: str
    calls: list[list[str]]

    def made(self, *beginning: str) -> list[list[str]]:
        """The calls that begin with these words."""
        return [call for call in self.calls if tuple(call[: len(beginning)]) == beginning]

    @property
    def changes(self) -> list[list[str]]:
        """The calls that change something."""
        return [call for call in self.calls if "create" in call or call[0] == "rest"]


@pytest.fixture
def register(tmp_path):
    """register(*arguments, answers=...) -> Ran."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "az").write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{STUB}" "$@"\n', "utf-8")
    (folder / "az").chmod(0o755)

    def run(*arguments: str, answers: Mapping[str, str | None] = NOTHING_YET) -> Ran:
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"answers": answers, "calls": []}), "utf-8")
        environ = {"PATH": f"{folder}:{os.environ['PATH']}", "AZ_STUB": str(state)}
        done = subprocess.run(
            [SCRIPT, *arguments], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr, json.loads(state.read_text("utf-8"))["calls"])

    return run


def body(call: list[str]) -> Any:
    """The JSON that a call sends."""
    given = call[call.index("--body" if "--body" in call else "--parameters") + 1]
    return json.loads(Path(given[1:]).read_text("utf-8") if given.startswith("@") else given)


def test_a_first_run_makes_all_of_it_and_prints_the_settings(register):
    ran = register("--identity", IDENTITY)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        f"POSTERN_TENANT_ID={TENANT}",
        f"POSTERN_CLIENT_ID={CLIENT}",
        f"POSTERN_AUDIENCE={CLIENT},api://{CLIENT}",
    ]
    assert "AzureADMyOrg" in ran.made("ad", "app", "create")[0]
    registration, identifier = ran.made("rest")
    assert body(registration)["api"]["requestedAccessTokenVersion"] == 2
    assert f"https://graph.microsoft.com/v1.0/applications/{OBJECT}" in registration
    assert body(identifier) == {"identifierUris": [f"api://{CLIENT}"]}
    assert ran.made("ad", "sp", "create") == [["ad", "sp", "create", "--id", CLIENT, "--output", "none"]]
    (credential,) = ran.made("ad", "app", "federated-credential", "create")
    assert body(credential) == {
        "name": f"managed-identity-{IDENTITY}",
        "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "subject": IDENTITY,
        "audiences": ["api://AzureADTokenExchange"],
    }
    assert not any("credential" in call and "reset" in call for call in ran.calls), "no client secret"


def test_a_second_run_makes_nothing_twice(register):
    ran = register("--identity", IDENTITY, answers=ALL_THERE)
    assert ran.code == 0, ran.err
    assert [call[0] for call in ran.changes] == ["rest", "rest"]
    assert f"POSTERN_CLIENT_ID={CLIENT}" in ran.out


def test_a_run_without_an_identity_makes_no_credential(register):
    ran = register()
    assert ran.code == 0, ran.err
    assert not ran.made("ad", "app", "federated-credential")


@pytest.mark.parametrize(
    "there", [[], ["https://other.example/callback"], ["https://postern.example/console/callback"]]
)
def test_the_redirect_uris_of_the_console_are_added_to_those_that_are_there(register, there):
    answers = ALL_THERE | {f"ad app show --id {CLIENT} --query web.redirectUris": "\n".join(there)}
    ran = register("--public-url", "https://postern.example/", answers=answers)
    assert ran.code == 0, ran.err
    uris = body(ran.made("rest")[-1])["web"]["redirectUris"]
    assert uris == [*dict.fromkeys([*there, *(f"https://postern.example{path}" for path in REDIRECT_PATHS)])]


def test_each_connection_gets_a_redirect_uri_of_its_own(register):
    at = "https://postern.example"
    ran = register("--public-url", at, "--connection", "my-mail", "--connection", "triggers.pay", answers=ALL_THERE)
    assert ran.code == 0, ran.err
    uris = body(ran.made("rest")[-1])["web"]["redirectUris"]
    assert [uri.removeprefix(at) for uri in uris][-2:] == [callback_path("my-mail"), callback_path("triggers.pay")]


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a/b", "*", "$(id)"])
def test_a_name_that_no_connection_has_is_refused(register, name):
    ran = register("--public-url", "https://postern.example", "--connection", name)
    assert (ran.code, ran.calls, "--connection" in ran.err) == (1, [], True)


@pytest.mark.parametrize(
    "url", ["http://postern.example", "postern.example", 'https://x/"', "https://x/?a", "https://"]
)
def test_an_address_at_which_nobody_can_sign_in_is_refused(register, url):
    ran = register("--public-url", url)
    assert (ran.code, ran.calls) == (1, [])
    assert "--public-url" in ran.err


@pytest.mark.parametrize("answers", [NOTHING_YET, ALL_THERE | {"ad sp list": ""}], ids=["nothing yet", "some there"])
def test_a_dry_run_changes_nothing_and_says_what_it_would(register, answers):
    ran = register("--dry-run", "--identity", IDENTITY, answers=answers)
    assert ran.code == 0, ran.err
    assert ran.changes == []
    assert "service principal" in ran.err


def test_an_existing_registration_is_named_by_its_client_id(register):
    ran = register("--client-id", CLIENT)
    assert ran.code == 0, ran.err
    assert not ran.made("ad", "app", "list")
    assert not ran.made("ad", "app", "create")


def test_another_cloud_has_its_own_addresses_and_audience(register):
    answers = NOTHING_YET | {
        "cloud show --query name": "AzureUSGovernment",
        "cloud show --query endpoints.microsoftGraphResourceId": "https://graph.microsoft.us/",
        "cloud show --query endpoints.activeDirectory": "https://login.microsoftonline.us",
    }
    ran = register("--identity", IDENTITY, answers=answers)
    (credential,) = ran.made("ad", "app", "federated-credential", "create")
    assert body(credential)["audiences"] == ["api://AzureADTokenExchangeUSGov"]
    assert body(credential)["issuer"] == f"https://login.microsoftonline.us/{TENANT}/v2.0"
    assert all("https://graph.microsoft.us/" in " ".join(call) for call in ran.made("rest"))


@pytest.mark.parametrize(
    ("arguments", "answers", "said"),
    [
        ((), {"account show": None}, "az login"),
        ((), {"ad app list": f"{CLIENT}\n{OBJECT}"}, "--client-id"),
        ((), {"ad app create": ""}, "no client id"),
        (("--client-id", CLIENT), {f"ad app show --id {CLIENT}": ""}, "there is no registration"),
        ((), {"cloud show --query name": "AzureStack"}, "is not supported"),
        ((), {"rest": None}, "refused"),
        (("--identity", IDENTITY), {"ad app federated-credential create": None}, "refused"),
    ],
)
def test_what_fails_ends_the_script_with_a_reason(register, arguments, answers, said):
    ran = register(*arguments, answers=NOTHING_YET | answers)
    assert ran.code != 0
    assert said in ran.err
    assert "POSTERN_" not in ran.out, "no settings of a registration that is half made"


@pytest.mark.parametrize(
    "arguments",
    [("--identity", "ada@example.com"), ("--client-id", "x' or 'y"), ("--name", "a' or 1 eq 1"), ("--name",), ("x",)],
)
def test_what_is_no_id_or_name_never_reaches_the_command_line_of_azure(register, arguments):
    ran = register(*arguments)
    assert ran.code != 0
    assert ran.calls == []
