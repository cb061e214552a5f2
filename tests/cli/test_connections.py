"""`postern connections`: the list, and how a test is shown."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postern.cli.connections import entry_named, show
from postern.connections.stage import Stage
from postern.settings import Settings, load_settings
from tests.cli.conftest import Postern

pytestmark = pytest.mark.network

TOML = """
[connections.orders]
base_url = "https://orders.example/v2"
auth = { type = "none" }

[connections.graph]
base_url = "https://graph.microsoft.com/v1.0"
auth = { type = "entra", client_id = "00000000-0000-0000-0000-000000000007", client_secret = { key_vault = "graph-secret" }, scopes = ["https://graph.microsoft.com/.default"] }

[triggers.orders]
url = "https://flows.example/workflows/7/invoke?api-version=1&sig=the-signature"

[triggers.flow]
url = "https://flows.example/workflows/8/invoke?api-version=1"
auth = { type = "entra", client_id = "00000000-0000-0000-0000-000000000007", client_secret = { key_vault = "flow-secret" }, audience = "https://service.flow.microsoft.com/" }
"""  # noqa: E501


@pytest.fixture
def written(folder: Path) -> Path:
    """A folder whose postern.toml has entries in both tables."""
    (folder / "postern.toml").write_text(TOML, encoding="utf-8")
    return folder


def test_every_entry_is_listed_with_what_it_signs_in_with(postern: Postern, written: Path):
    """Addresses without their query, secrets by their names, the local tenant's own entries besides."""
    result = postern("connections")
    assert result.exit_code == 0
    assert "the-signature" not in result.stdout
    rows = {row.split()[0]: row.split()[1:] for row in result.stdout.splitlines()[1:] if not row.startswith(" ")}
    assert set(rows) == {
        "connections.graph",
        "connections.my-profile",
        "connections.orders",
        "triggers.approve-leave",
        "triggers.flow",
        "triggers.orders",
    }
    assert rows["connections.graph"] == [
        "https://graph.microsoft.com/v1.0",
        "entra",
        "https://graph.microsoft.com/.default",
        "client_secret=graph-secret",
    ]
    assert rows["triggers.flow"][1:] == ["entra", "https://service.flow.microsoft.com/", "client_secret=flow-secret"]
    assert rows["triggers.orders"] == ["https://flows.example/workflows/7/invoke", "none"]


def test_the_list_as_json_has_a_shape_for_programs(postern: Postern, written: Path):
    result = postern("connections", "--json")
    assert "the-signature" not in result.stdout
    listed = {f"{row['table']}.{row['name']}": row for row in json.loads(result.stdout)["connections"]}
    assert listed["triggers.flow"] == {
        "table": "triggers",
        "name": "flow",
        "address": "https://flows.example/workflows/8/invoke",
        "auth": "entra",
        "for": ["https://service.flow.microsoft.com/"],
        "secrets": {"client_secret": "flow-secret"},
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grahp", "Did you mean graph?"),
        ("orders", "write connections.orders or triggers.orders"),
        ("connections.flow", "Did you mean"),
        ("zzz", "It has connections.graph"),
    ],
)
def test_a_name_of_no_entry_or_of_two_is_an_error(postern: Postern, written: Path, name: str, expected: str):
    result = postern("connections", "test", name)
    assert (result.exit_code, expected in result.stderr) == (2, True)


def test_an_entry_is_found_by_its_name_alone_or_with_its_table(tmp_path: Path):
    (tmp_path / "postern.toml").write_text(TOML, encoding="utf-8")
    settings: Settings = load_settings({}, folder=tmp_path)
    names = ("graph", "connections.orders", "triggers.orders", "flow")
    found = [entry_named(name, settings) for name in names]
    assert found == ["connections.graph", "connections.orders", "triggers.orders", "triggers.flow"]


@pytest.mark.anyio
async def test_stages_are_printed_up_to_the_first_that_failed(capsys: pytest.CaptureFixture[str]):
    """With its fix, and without what steers a terminal."""

    async def stages() -> AsyncIterator[Stage]:
        yield Stage("one", True, "by\x1b[31m this")
        yield Stage("two", False, "wrong", "Repair it")
        yield Stage("three", True)

    assert not await show(stages())
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.out.splitlines()] == [["ok", "one"], ["FAILED", "two"]]
    assert "\x1b" not in printed.out
    assert "fix: Repair it." in printed.err


@pytest.mark.parametrize("name", ["graph", "approve-leave"])
def test_without_the_local_tenant_the_vault_is_the_stage_that_fails(
    postern: Postern, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Exit code 1, the fix, and when the local tenant answers."""
    for variable in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(variable, "")
    result = postern("connections", "test", name)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "fix:" in result.stderr
    assert "while `postern dev` runs" in result.stderr


ON_BEHALF_OF = """
[connections.me]
base_url = "https://graph.microsoft.com/v1.0"
auth = { type = "entra", on_behalf_of = true, client_secret = { key_vault = "a" }, scopes = ["https://graph.microsoft.com/.default"] }
"""  # noqa: E501


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["orders", "--as", "lisa"], "--as and --token-file are for entries with on_behalf_of"),
        (["me", "--as", "nobody"], "has no person or application 'nobody'"),
        (["me", "--as", "lisa", "--token-file", "-"], "give one of them"),
        (["me", "--for", "lisa"], "--for is for entries that each person connects"),
    ],
)
def test_a_caller_is_for_entries_on_behalf_of_one(postern: Postern, folder: Path, arguments: list[str], expected: str):
    orders = '[connections.orders]\nbase_url = "https://orders.example"\nauth = { type = "none" }'
    (folder / "postern.toml").write_text(ON_BEHALF_OF + orders, encoding="utf-8")
    result = postern("connections", "test", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_an_entry_on_behalf_of_a_caller_is_tested_for_one(postern: Postern, folder: Path):
    """As far as it goes without the local tenant."""
    (folder / "postern.toml").write_text(ON_BEHALF_OF, encoding="utf-8")
    result = postern("connections", "test", "me", "--as", "lisa")
    assert result.exit_code == 1
    assert "connections.me, on behalf of the caller of a run" in result.stdout
    assert "while `postern dev` runs" in result.stderr
