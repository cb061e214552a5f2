"""The commands for operators and authors."""

import sys
from importlib import import_module

import typer

from postern.cli.terminal import fail
from postern.cli.workspace import FolderFault
from postern.errors import DatabaseFault
from postern.local_tenant import TenantFault
from postern.logs import configure_logs
from postern.settings import SettingsFault

app = typer.Typer(
    name="postern",
    help="Runs HTTP-triggered workflows and checks the callers' Microsoft Entra tokens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SERVING = ("serve", "dev", "catalog", "tokens", "call", "explain", "health")
_OPERATING = ("runs", "refusals", "connections", "secrets", "database", "export")
for _module in ("version", *_SERVING, *_OPERATING):
    import_module(f"postern.cli.{_module}").add_to(app)


def main() -> None:
    """Run the command. Faults that a user can fix are printed as plain text, with exit code 2."""
    configure_logs("console", level="critical")  # commands print their own errors; serving configures logs again
    try:
        app()
    except (SettingsFault, DatabaseFault, FolderFault, TenantFault) as fault:
        fail(str(fault))
        sys.exit(2)
