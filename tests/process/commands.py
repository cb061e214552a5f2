"""`postern` commands, run to their end."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from tests.process.preloaded import Process, environment

SECONDS = 60.0
"""That a command may take."""


def command(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, stdin: str = "", code: str = ""
) -> "CompletedProcess[str]":
    """What a command comes to, in this folder. `code` runs in place of the program."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        paths = [Path(name, each) for each in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin, encoding="utf-8")
        streams = [stack.enter_context(path.open(mode)) for path, mode in zip(paths, ("rb", "wb", "wb"), strict=True)]
        process = Process(arguments, folder, environment(environ), *(each.fileno() for each in streams), code=code)
        try:
            ended = process.wait(SECONDS)
        except TimeoutExpired:
            process.kill()
            raise
        out, err = (path.read_text(encoding="utf-8") for path in paths[1:])
    return CompletedProcess(process.args, ended, out, err)
