"""The page of the agent says what the code does."""

import re
from pathlib import Path

import postern.gateway.agent
from postern.gateway.agent.addresses import NEVER
from postern.gateway.agent.counts import Counts
from postern.gateway.agent.rows import Row
from postern.gateway.agent.settings import AgentSettings, SignIn, load
from tests.pages import missing_files, table_rows

ROOM = Path(postern.gateway.agent.__file__).parent
PAGE = (ROOM / "README.md").read_text("utf-8")
SOURCES = "".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))


def named(heading: str) -> set[str]:
    """What is in backticks in the first column of the table under this heading."""
    return {name for row in table_rows(PAGE, heading) for name in re.findall(r"`([\w.]+)`", row[0])}


def test_every_key_of_the_file_has_a_row():
    assert named("Settings") == set(AgentSettings.model_fields)
    assert named("Sign-in") == set(SignIn.model_fields)
    assert named("Rows") == set(Row.model_fields)


def test_every_event_of_the_log_has_a_row():
    events = set(re.findall(r"log\.\w+\(\s*\"([a-z_]+)\"", SOURCES)) | set(re.findall(r"Coalesced\(\"(\w+)\"", SOURCES))
    assert events - named("Logs and metrics") == {"gateway_link_failed"}  # a fault of the agent, with its traceback
    assert named("Logs and metrics") <= events


def test_every_metric_has_a_row():
    section = PAGE.split("`GET /metrics` is for Prometheus:")[1].split("\n## ")[0]
    listed = set(re.findall(r"`(postern_\w+)`", section))
    found = set(re.findall(r"^# TYPE (\w+) (?:gauge|counter)", Counts().text().decode(), re.MULTILINE))
    assert {name for name in found if not name.endswith("_created")} == listed


def test_every_network_that_is_never_connected_to_is_named():
    services = [network for network, why in NEVER.items() if "service" in why]
    assert [each for each in services if each.removesuffix("/32") not in PAGE] == []


def test_files_exist_and_all_are_named():
    assert missing_files(ROOM) == []
    files = {name for row in table_rows(PAGE, "Files") for name in re.findall(r"`(\w+\.py)`", row[0])}
    assert files == {path.name for path in ROOM.glob("*.py")} - {"__init__.py"}


def test_the_examples_can_be_read(tmp_path: Path):
    shipped = Path(__file__).parents[3] / "deploy" / "gateway" / "gateway.toml"
    (tmp_path / "agent.pem").write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n", "utf-8")
    for text in (PAGE.split("```toml\n")[1].split("```")[0], shipped.read_text("utf-8")):
        (tmp_path / "gateway.toml").write_text(text, "utf-8")
        assert len(load(tmp_path / "gateway.toml").allow) == 2
