"""The audit log of whole servers: written, signed, kept, and verified after a stop and after a kill."""

import stat
from pathlib import Path

from tests.process import commands
from tests.process.servers import running, until

WORKFLOW = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"
"""
ENVIRON = {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_AUDIT_FILE": "checkpoints.jsonl"}


def audit(folder: Path, *arguments: str) -> str:
    done = commands.command(folder, "audit", *arguments, environ=ENVIRON)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_log_of_servers_that_were_stopped_and_killed_verifies_with_what_they_kept(tmp_path: Path) -> None:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "hello.py").write_text(WORKFLOW, encoding="utf-8")
    file, key, logged = (tmp_path / name for name in ("checkpoints.jsonl", "public.pem", "server.log"))
    with running("dev", tmp_path, ENVIRON) as server:
        server.says("audit-checkpoint")
        key.write_text(audit(tmp_path, "key"), encoding="ascii")
        assert server.post("hello").status_code == 200
        assert server.stop() == 0
        logged.write_text(server.output, encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text("ascii").splitlines()) == 2  # at the start, and at the stop
    with running("dev", tmp_path, ENVIRON) as server:
        until(lambda: len(file.read_text("ascii").splitlines()) == 3)
        server.process.kill()
        server.process.wait(10)
    kept = ("--checkpoints", str(file), "--checkpoints", str(logged))
    assert "in 2 chains" in audit(tmp_path, "verify", "--public-key", str(key), *kept)
