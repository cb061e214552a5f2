"""What a server says of its database when it starts: what can never work, what it waits for, and who may read it."""

import json
from pathlib import Path

import pytest

from tests.process.servers import Server, running

WORKFLOW = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "hello.py").write_text(WORKFLOW, encoding="utf-8")
    return tmp_path


def lines(server: Server, event: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


@pytest.mark.parametrize("command", ["serve", "serve --workers 2", "dev"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///letter.txt", "letter.txt is not a SQLite database"),
        ("postgresql://u:private@localhost:1/x?nonsense=1", "nonsense is not an option"),
        ("postgresql://u:private@localhost:notaport/x", "has a port that is not a number"),
    ],
)
def test_a_database_that_can_never_be_used_ends_the_start_with_one_sentence(command, url, words, folder):
    (folder / "letter.txt").write_text("Dear Ada, " * 100)
    server = Server(command.split(), folder, {"POSTERN_PORT": "0", "POSTERN_DATABASE_URL": url})
    assert server.process.wait(30) == 2
    server.close()
    said = [line for line in server.output.splitlines() if "POSTERN_DATABASE_URL" in line]
    assert len(said) == 1
    assert words in said[0]
    assert "Traceback" not in server.output
    assert "private" not in server.output


def test_a_database_that_may_come_back_is_waited_for_and_the_log_says_so(folder):
    url = "postgresql://u:private@127.0.0.1:1/x"
    environ = {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_DATABASE_URL": url}
    with running("serve", folder, environ) as server:
        server.says("journal-write-failed")
        assert server.client.get("/readyz").status_code == 503
        assert server.post("hello").json()["code"] == "journal-unavailable"
        line = lines(server, "journal-write-failed")[0]
        assert line["cause"] == "Connection refused"
        assert "waits until the database can be opened" in str(line["waits"])
        assert "private" not in server.output


def test_a_database_that_others_can_read_is_warned_of_once_with_the_command_that_corrects_it(folder):
    file = folder / "postern.db"
    file.touch(0o644)
    file.chmod(0o644)
    environ = {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_DATABASE_URL": f"sqlite:///{file}"}
    with running("serve --workers 2", folder, environ) as server:
        warned = [line for line in lines(server, "database-exposed") if line["path"] == str(file)]
        assert [(line["mode"], line["fix"]) for line in warned] == [("0644", f"chmod 600 {file}")]


def test_a_cold_start_of_six_workers_logs_no_error(folder):
    """They make one database at the same time. Nothing looks into tables before they are there."""
    environ = {"POSTERN_PORT": "0", "POSTERN_LOG_FORMAT": "json", "POSTERN_DATABASE_URL": f"sqlite:///{folder}/new.db"}
    with running("serve --workers 6", folder, environ) as server:
        server.answers("hello", 200)
        levels = {json.loads(line)["level"] for line in server.output.splitlines() if line.startswith("{")}
        assert levels == {"info"}
        assert server.stop() == 0
