"""What holds for every command, and the settings with which `postern dev` does not start."""

from typing import Any

import pytest

from postern.cli.commands import COMMANDS as COMMANDS_BY_MODULE
from postern.cli.commands import loaded
from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL
from tests.table import table

pytestmark = pytest.mark.slow

COMMANDS = [
    *("access", "approvals", "audit", "call", "check", "connections", "database", "dev", "doctor", "explain", "export"),
    *("findings", "gateway", "gateways"),
    *("health", "link", "list", "mcp", "new", "refusals", "revoke", "runs", "secrets", "serve", "test", "token"),
]
OF_AUDIT = ["export", "key", "list", "verify"]
OF_RUNS = ["cancel", "follow", "list", "logs", "resubmit", "resume", "show", "signal"]
OF_APPROVALS = ["approve", "list", "reject"]
OF_CONNECTIONS = ["disconnect", "link", "list", "reseal", "test"]
OF_FINDINGS = ["acknowledge", "list", "show"]
OF_GATEWAY = ["check", "install", "run"]
OF_MCP = ["check", "list"]
OF_REVOKE = ["end", "lift", "list"]
OF_SECRETS = ["list", "set"]
OF_EXPORT = ["connector", "openapi"]
OF_DATABASE = ["backup", "downgrade", "restore", "show", "upgrade"]


def test_these_are_the_commands(postern: Postern):
    found = postern("--help")
    assert found.exit_code == 0
    assert [name for name in COMMANDS if f" {name} " not in found.stdout] == []


@table(
    "names",
    [[name] for name in COMMANDS]
    + [["runs", name] for name in OF_RUNS]
    + [["audit", name] for name in OF_AUDIT]
    + [["connections", name] for name in OF_CONNECTIONS]
    + [["findings", name] for name in OF_FINDINGS]
    + [["gateway", name] for name in OF_GATEWAY]
    + [["mcp", name] for name in OF_MCP]
    + [["approvals", name] for name in OF_APPROVALS]
    + [["revoke", name] for name in OF_REVOKE]
    + [["secrets", name] for name in OF_SECRETS]
    + [["export", name] for name in OF_EXPORT]
    + [["database", name] for name in OF_DATABASE],
    ids=" ".join,
)
def test_every_command_and_option_says_what_it_is_for(postern: Postern, names: list[str]):
    assert sorted(COMMANDS_BY_MODULE) == COMMANDS
    assert sorted(loaded("runs").commands) == OF_RUNS
    assert sorted(loaded("connections").commands) == OF_CONNECTIONS
    assert sorted(loaded("findings").commands) == OF_FINDINGS
    assert sorted(loaded("mcp").commands) == OF_MCP
    assert sorted(loaded("gateway").commands) == OF_GATEWAY
    assert sorted(loaded("approvals").commands) == OF_APPROVALS
    assert sorted(loaded("revoke").commands) == OF_REVOKE
    assert sorted(loaded("secrets").commands) == OF_SECRETS
    assert sorted(loaded("export").commands) == OF_EXPORT
    assert sorted(loaded("database").commands) == OF_DATABASE
    command: Any = loaded(names[0])
    for name in names[1:]:
        command = command.commands[name]
    assert len(command.help) > 20
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
    for text in (command.help, *(parameter.help for parameter in command.params)):
        assert "[" not in text, f"--help leaves out what is in brackets: {text}"
    assert postern(*names, "--help").exit_code == postern(*names, "-h").exit_code == 0


@table("name", COMMANDS)
def test_the_table_of_commands_says_what_their_help_says(name: str):
    """The table is there so that --help loads no command."""
    paragraph = str(loaded(name).help).split("\n\n")[0]
    assert " ".join(paragraph.split()) == COMMANDS_BY_MODULE[name][1]


def test_a_command_that_is_nearly_one_is_suggested(postern: Postern):
    result = postern("rusn")
    assert (result.exit_code, "runs" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (REAL, "POSTERN_TENANT_ID"),
        ({"POSTERN_AUTHORITY": "https://login.example"}, "POSTERN_AUTHORITY"),
        ({"POSTERN_HOST": "0.0.0.0"}, "POSTERN_HOST"),
    ],
    ids=["a real tenant", "another authority", "not loopback"],
)
def test_dev_does_not_start_with_settings_of_a_server(postern: Postern, environ: dict[str, str], expected: str):
    result = postern("dev", **environ)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "postern serve" in result.stderr


def test_serve_wants_at_least_one_worker(postern: Postern):
    assert postern("serve", "--workers", "0").exit_code == 2
