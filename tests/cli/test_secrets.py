"""`postern secrets`, beside a running local tenant."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant, serve
from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL

pytestmark = pytest.mark.network

DAY = 86400
NEAR, OLD = "api-key-near", "api-key-old"

CONFIG = """
[connections.erp]
base_url = "https://erp.example"

[connections.erp.auth]
type = "entra"
client_id = "00000000-0000-0000-0000-000000000000"
audience = "api://erp"
client_secret = { key_vault = "NAME" }
"""


@pytest.fixture
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTenant]:
    """The folder's local tenant, listening."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")  # the command sets them; they go with the test
    tenant = LocalTenant.open(folder / "var" / "local-tenant")
    with serve(tenant):
        yield tenant


def name_secret(folder: Path, name: str) -> None:
    (folder / "postern.toml").write_text(CONFIG.replace("NAME", name), encoding="utf-8")


def test_every_secret_is_listed_with_its_expiry_date_and_users(postern: Postern, running: LocalTenant, folder: Path):
    name_secret(folder, NEAR)
    running.put_secret(NEAR, "value-marker", expires=time.time() + 5.5 * DAY)
    result = postern("secrets")
    assert result.exit_code == 0
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 5.5 * DAY))
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["secret", "expires", "used", "by", "state"],
        [NEAR, f"{day},", "in", "5", "days", "connections.erp", "client_secret", "readable"],
        ["audit-key", "no", "expiry", "date", "POSTERN_AUDIT_KEY_NAME", "readable"],
        ["durable-key", "no", "expiry", "date", "POSTERN_DURABLE_KEY_NAME", "readable"],
        ["grants-key", "no", "expiry", "date", "POSTERN_GRANTS_KEY_NAME", "readable"],
        ["postern-client-secret", "no", "expiry", "date", "POSTERN_CLIENT_SECRET_NAME", "readable"],
        ["connections.graph", "client_secret"],
        ["connections.my-profile", "client_secret"],
        ["triggers.approve-leave", "client_secret"],
    ]
    assert "value-marker" not in result.output


def test_secrets_of_senders_are_listed_with_their_workflows(postern: Postern, running: LocalTenant, folder: Path):
    module = "from postern import anonymous, github, workflow\n\n"
    for name in ("first", "second"):
        module += f"@workflow(access=anonymous(signed_by=github(('{NEAR}', '{OLD}'))))\nasync def {name}(ctx): ...\n\n"
    (folder / "workflows" / "hooks.py").write_text(module, encoding="utf-8")
    name_secret(folder, NEAR)
    running.put_secret(NEAR, "value-marker")
    result = postern("secrets", "--json")

    assert result.exit_code == 1
    found = {each["name"]: each for each in json.loads(result.stdout)["secrets"]}
    assert found[NEAR]["used_by"] == ["connections.erp client_secret", "workflow first", "workflow second"]
    assert (found[OLD]["used_by"], found[OLD]["readable"]) == (["workflow first", "workflow second"], False)


def test_json_is_for_programs(postern: Postern, running: LocalTenant, folder: Path):
    name_secret(folder, OLD)
    running.put_secret(OLD, "value-marker", expires=1_700_000_000)
    result = postern("secrets", "--json")
    assert result.exit_code == 0
    old, _, _, key, own = json.loads(result.stdout)["secrets"]
    assert (old["name"], old["expires_on"], old["readable"]) == (OLD, "2023-11-14T22:13:20Z", True)
    assert old["days"] < 0
    assert (own["name"], own["expires_on"], own["days"], own["fault"]) == ("postern-client-secret", None, None, None)
    assert (key["name"], key["used_by"]) == ("grants-key", ["POSTERN_GRANTS_KEY_NAME"])
    assert "value-marker" not in result.output


def test_a_secret_that_cannot_be_read_says_why_and_the_exit_code_is_1(
    postern: Postern, running: LocalTenant, folder: Path
):
    name_secret(folder, "misspelt")
    result = postern("secrets")
    assert result.exit_code == 1
    row = next(line for line in result.stdout.splitlines() if line.startswith("misspelt "))
    assert "the secret misspelt is not in the Key Vault" in row
    document = json.loads(postern("secrets", "--json").stdout)
    found = next(each for each in document["secrets"] if each["name"] == "misspelt")
    assert found["fault"]["entry"] == "the secret misspelt"
    assert found["readable"] is False


def test_without_a_secret_there_is_nothing_to_ask(postern: Postern):
    tenant = {"POSTERN_TENANT_ID": "00000000-0000-0000-0000-000000000001"}
    result = postern("secrets", **tenant)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "name no secret" in result.stderr
    assert json.loads(postern("secrets", "--json", **tenant).stdout) == {"secrets": []}


def test_without_a_vault_the_setting_is_named(postern: Postern):
    environ = {
        "POSTERN_TENANT_ID": "00000000-0000-0000-0000-000000000001",
        "POSTERN_CLIENT_SECRET_NAME": "own",
    }
    result = postern("secrets", **environ)
    assert result.exit_code == 1
    assert "POSTERN_KEY_VAULT_URL is not set" in result.stdout


def test_a_secret_is_set_in_the_local_vault(postern: Postern, running: LocalTenant, folder: Path):
    """What a secret's fault says to do is what helps."""
    name_secret(folder, "new-key")
    missing = postern("secrets", "--json")
    assert (missing.exit_code, "postern secrets set new-key" in missing.stdout) == (1, True)
    assert "az keyvault" not in missing.output
    done = postern("secrets", "set", "new-key", stdin="value-marker\n")
    assert done.exit_code == 0
    assert "value-marker" not in done.output
    assert running.vault.versions("new-key")[-1].value == "value-marker"
    assert postern("secrets").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "environ", "expected"),
    [
        (["new-key"], "", {}, "the value is empty"),
        (["new_key"], "x", {}, "cannot be a secret's name"),
        (["new-key"], "x", REAL, "az keyvault secret set"),
        (["new-key", "value-marker"], "", {}, "unexpected extra argument"),
    ],
    ids=["empty", "name", "a real tenant", "as an argument"],
)
def test_a_secret_that_cannot_be_set_is_an_error(
    postern: Postern, arguments: list[str], stdin: str, environ: dict[str, str], expected: str
):
    result = postern("secrets", "set", *arguments, stdin=stdin, **environ)
    assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr
