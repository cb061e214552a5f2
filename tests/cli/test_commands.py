"""What holds for every command, and the settings with which `postern dev` does not start."""

from typing import Any

import pytest
import typer.main

from postern.cli.commands import app
from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL

COMMANDS = [
    *("call", "check", "connections", "database", "dev", "explain", "export", "health", "list", "new", "refusals"),
    *("runs", "secrets", "serve", "token"),
]
OF_RUNS = ["cancel", "follow", "list", "resubmit", "show"]
OF_CONNECTIONS = ["list", "test"]
OF_EXPORT = ["connector", "openapi"]
OF_DATABASE = ["backup", "downgrade", "restore", "show", "upgrade"]


def test_these_are_the_commands(postern: Postern):
    found = postern("--help")
    assert found.exit_code == 0
    assert [name for name in COMMANDS if f" {name} " not in found.stdout] == []


@pytest.mark.parametrize(
    "names",
    [[name] for name in COMMANDS]
    + [["runs", name] for name in OF_RUNS]
    + [["connections", name] for name in OF_CONNECTIONS]
    + [["export", name] for name in OF_EXPORT]
    + [["database", name] for name in OF_DATABASE],
    ids=" ".join,
)
def test_every_command_and_option_says_what_it_is_for(postern: Postern, names: list[str]):
    command: Any = typer.main.get_command(app)
    assert sorted(command.commands) == COMMANDS
    assert sorted(command.commands["runs"].commands) == OF_RUNS
    assert sorted(command.commands["connections"].commands) == OF_CONNECTIONS
    assert sorted(command.commands["export"].commands) == OF_EXPORT
    assert sorted(command.commands["database"].commands) == OF_DATABASE
    for name in names:
        command = command.commands[name]
    assert len(command.help) > 20
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
    assert postern(*names, "--help").exit_code == postern(*names, "-h").exit_code == 0


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
