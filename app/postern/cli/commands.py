"""The commands for operators and authors. The module of a command is loaded when the command is used: `--help` needs
only the table."""

import os
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from postern.cli import version
from postern.errors import UserFault

COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("serve", "Serve the workflows, with the tenant of the settings (POSTERN_*, .env, postern.toml)."),
    "dev": (
        "dev",
        "Serve the workflows with a local tenant: with people, tokens, Key Vault and directory, on loopback only.",
    ),
    "check": (
        "catalog",
        (
            "Load the settings and every workflow, and report every fault. Exit code 1 if there is any, or if no token "
            "can be valid for the workflows that are tools."
        ),
    ),
    "list": (
        "catalog",
        "List the workflows with method, URL, access mode, object ids of those on a list, and next due times.",
    ),
    "new": ("catalog", "Write a module with a working workflow, or, as `new test NAME`, a first test of a workflow."),
    "test": ("testing", "Run the tests of the workflows with pytest and the test kit. The exit code is pytest's."),
    "token": ("tokens", "Print an access token of the local tenant. No other system accepts it."),
    "call": (
        "call",
        (
            "Call a workflow's trigger. The reply's body is printed to standard output, its status to standard error. "
            "The result of a durable run is waited for. The exit code is 0 for a 2xx, 1 for any other status."
        ),
    ),
    "explain": (
        "explain",
        "Show every check of a token for a workflow, in order, with the expected and the found value.",
    ),
    "health": (
        "health",
        "Check whether the server on this machine is healthy: exit code 0 or 1. For the health check of a container.",
    ),
    "doctor": (
        "doctor",
        (
            "Check settings, workflows, tenant, signing keys, clock, vault, database, TLS, proxy headers and the "
            "public URL, and say what to do. Exit code 1 if a check failed."
        ),
    ),
    "runs": (
        "runs",
        "Recorded runs: list, show, logs, cancel, resubmit, resume, signal, follow. Alone, same as list.",
    ),
    "approvals": (
        "approvals",
        (
            "Decisions that durable runs wait for: list, approve ID NAME, reject ID NAME. Without a subcommand, same "
            "as list."
        ),
    ),
    "refusals": (
        "refusals",
        (
            "List the rejected requests, for operators. Requests with the same reason, address and workflow share one "
            "line. `postern explain REQUEST_ID` shows the checks."
        ),
    ),
    "audit": ("audit", "The audit log: list, verify, export FILE, key. Without a subcommand, same as list."),
    "access": (
        "access",
        (
            "List who may call which workflow, why, and when they last did. Exit code 1 if anyone may call a workflow "
            "that access.anonymous of postern.toml does not name."
        ),
    ),
    "findings": (
        "findings",
        "Odd activity of callers, for operators: list, show ID, acknowledge ID. Without a subcommand, same as list.",
    ),
    "revoke": (
        "revoke",
        (
            "End the access of a person, an application or a token: PERSON, CLIENT or --token UTI; list, lift ID. "
            "Without arguments, same as list."
        ),
    ),
    "connections": (
        "connections",
        (
            "The outside systems that workflows may reach: list, test NAME; and of those that people connect: link, "
            "disconnect, reseal. Without a subcommand, same as list."
        ),
    ),
    "gateway": (
        "gateway",
        "The agent of a gateway, beside private systems: run, check, install.",
    ),
    "gateways": (
        "gateways",
        "List the gateways to private networks with their agents, for operators. Exit code 1 if one has no agent.",
    ),
    "mcp": (
        "mcp",
        (
            "The tools that an agent gets at /mcp with a caller's token: list, check URL. Without a subcommand, same "
            "as list."
        ),
    ),
    "link": (
        "link",
        (
            "Make a signed URL of a workflow, and print it. With --list or --revoke: the links that there are. For "
            "operators."
        ),
    ),
    "secrets": (
        "secrets",
        "The secrets named in the settings: list, set NAME. Without a subcommand, same as list.",
    ),
    "database": (
        "database",
        "The database of the records: show, upgrade, downgrade, backup, restore. Without a subcommand, same as show.",
    ),
    "export": ("export", "Describe the triggers for other programs: openapi, connector."),
}
"""Each command's module in this room, and what it is for: the first paragraph of its help."""

LIGHT = frozenset({"token"})
"""Commands that log nothing and run no code of authors. They need no configured log, and no plugins of Pydantic, which
looks for them in all installed packages."""


class Commands(TyperGroup):
    """The commands by name. Each is loaded when it is resolved."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, text) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, and its own arguments."""
        name, _, rest = super().resolve_command(ctx, args)
        if ctx.obj is not None and name in LIGHT:
            os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        elif ctx.obj is not None:
            ctx.obj()
        return name, loaded(str(name)), rest


app = typer.Typer(
    name="postern",
    cls=Commands,
    help="Runs HTTP-triggered workflows and checks the callers' Microsoft Entra tokens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
version.add_to(app)


def loaded(name: str) -> Any:
    """The command of this name, with its module."""
    return _commands_of(COMMANDS[name][0])[name]


@cache
def _commands_of(module: str) -> Mapping[str, Any]:
    found = typer.Typer()
    import_module(f"postern.cli.{module}").add_to(found)
    return get_group(found).commands


def _quieten_logs() -> None:
    """Commands print their own errors; serving configures logs again."""
    from postern.structlog_alone import import_structlog

    import_structlog()
    from postern.logs import configure_logs

    configure_logs("console", level="critical")


def main() -> None:
    """Run the command. Faults that a user can fix are printed as plain text, with exit code 2."""
    try:
        app(obj=_quieten_logs)
    except UserFault as fault:
        from postern.cli.terminal import fail

        fail(str(fault))
        sys.exit(2)
