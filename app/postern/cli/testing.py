"""`postern test`: the tests of the workflows, by pytest with the kit `postern.testing`."""

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Annotated

import typer

from postern.cli.terminal import err, fail, program

NO_TESTS = 5
"""pytest's exit code where it found no test."""

INSTALL = 'pip install "postern-workflows[testing]"'


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="test", context_settings={"ignore_unknown_options": True})(run_tests)


def run_tests(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[PATHS] [-- OPTIONS]", help="Files, folders and options of pytest.")
    ] = None,
) -> None:
    """Run the tests of the workflows with pytest and the test kit. The exit code is pytest's."""
    if find_spec("pytest") is None:
        fail(f"postern test needs pytest, which a server does not: {INSTALL}")
        raise typer.Exit(2)
    command = [sys.executable, "-m", "pytest", *_plugin(), *(arguments or ())]
    with subprocess.Popen(command) as process:  # noqa: S603 what the author typed
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # pytest gets it too, and says where it was
                continue
    if code == NO_TESTS:
        err.print(f"There is no test yet. To write the first one: {program()} new test NAME", highlight=False)
    raise typer.Exit(code)


def _plugin() -> list[str]:
    """The option that loads the kit, where no entry point does: in a copy of the sources that is not installed."""
    installed = any(each.name == "postern" for each in entry_points(group="pytest11"))
    return [] if installed else ["-p", "postern.testing.plugin"]
