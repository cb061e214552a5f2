"""The operator's and the author's commands."""

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
    help="Workflows behind trigger URLs, and a door that decides who may use them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SERVING = ("serve", "dev", "catalog", "tokens", "call", "explain", "health")
_ASKING = ("runs", "refusals", "connections", "secrets", "database", "export")
for _module in ("version", *_SERVING, *_ASKING):
    import_module(f"postern.cli.{_module}").add_to(app)


def main() -> None:
    """Run the command; what a user can mend is told in plain words, with exit code 2 for wrong settings."""
    configure_logs("console", level="critical")  # commands say it themselves; serving configures them again
    try:
        app()
    except (SettingsFault, DatabaseFault, FolderFault, TenantFault) as fault:
        fail(str(fault))
        sys.exit(2)
