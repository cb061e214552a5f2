"""`postern` commands, each in a process of its own that is forked from one that has imported the program already: to
start Python and import takes most of a second, and two cores do that for one command after the other."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

from tests.process.servers import environment

PROGRAM = """
import json, os, signal, sys
import postern.__main__
import postern.cli.commands

while line := sys.stdin.readline():
    asked = json.loads(line)
    if process := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        print(code, flush=True)
        continue
    for number, path in enumerate(asked["streams"]):
        opened = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    signal.alarm(60)
    sys.stdin = open(0)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    sys.argv = [postern.__main__.__file__, *asked["arguments"]]
    postern.__main__.main()
    break
"""


@cache
def _parent() -> "subprocess.Popen[str]":
    """The process that forks. It ends with this one, when its standard input does."""
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def command(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> "CompletedProcess[str]":
    """What a command comes to, in this folder."""
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name, each) for each in ("stdin", "stdout", "stderr")]
        for path, content in zip(streams, (stdin, "", ""), strict=True):
            path.write_text(content, encoding="utf-8")
        asked = {
            "arguments": arguments,
            "environ": environment(environ),
            "folder": os.fspath(folder),
            "streams": [*map(os.fspath, streams)],
        }
        print(json.dumps(asked), file=parent.stdin, flush=True)
        code = int(parent.stdout.readline())
        _, out, err = (path.read_text(encoding="utf-8") for path in streams)
    return CompletedProcess(["postern", *arguments], code, out, err)
