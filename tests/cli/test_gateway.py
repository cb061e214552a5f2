"""`postern gateway`: what it prints, and that it changes nothing that it should not."""

import subprocess
from pathlib import Path

import pytest

from postern.gateway.agent.service import unit
from tests.cli.conftest import Postern
from tests.table import table
from tests.tools import needed

pytestmark = pytest.mark.slow

UNIT = Path(__file__).parents[2] / "deploy" / "gateway" / "postern-gateway.service"


@table("command", ["run", "check"])
def test_a_faulty_file_is_reported_with_every_problem(postern: Postern, folder: Path, command: str):
    (folder / "gateway.toml").write_text('nane = "madrid"\n', "utf-8")
    found = postern("gateway", command)
    assert found.exit_code == 2
    assert "nane (gateway.toml line 1): is not a known key. Did you mean name?" in found.stderr
    assert "tenant_id (gateway.toml): is missing" in found.stderr


def test_a_missing_file_is_named(postern: Postern, folder: Path):
    found = postern("gateway", "run", "--config", "other.toml")
    assert found.exit_code == 2
    assert "there is no file 'other.toml'" in found.stderr


def test_the_unit_is_printed_for_the_file_that_is_named(postern: Postern, folder: Path):
    found = postern("gateway", "install", "--print", "--config", "/etc/x/madrid.toml")
    assert found.exit_code == 0
    assert "gateway run --config /etc/x/madrid.toml\n" in found.stdout
    assert "@CONFIG@" not in found.stdout
    assert "file:/etc/x\n" in found.stdout


def test_the_unit_is_written_once(postern: Postern, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("postern.gateway.agent.service.FOLDER", folder)
    first = postern("gateway", "install")
    assert first.exit_code == 0
    assert "systemctl daemon-reload" in first.stdout
    written = (folder / "postern-gateway.service").read_text("utf-8")
    assert written == postern("gateway", "install", "--print").stdout
    again = postern("gateway", "install")
    assert again.exit_code == 2
    assert "already exists; not overwritten" in again.stderr


@table("path", ["relative/postern", "/opt/with space/postern", "/opt/%n", "/opt/$HOME/x", "/opt/a\nb"])
def test_a_path_that_systemd_reads_as_something_else_is_refused(path: str):
    with pytest.raises(ValueError, match="is not an absolute path"):
        unit(path, "/etc/postern-gateway/gateway.toml")


def test_the_unit_of_the_deployment_is_the_one_that_install_writes():
    assert UNIT.read_text("utf-8") == unit("/opt/postern/bin/postern", "/etc/postern-gateway/gateway.toml")


@pytest.mark.process
def test_systemd_accepts_the_unit_and_finds_little_that_it_could_do(tmp_path: Path):
    program = needed("systemd-analyze")
    (tmp_path / "postern-gateway.service").write_text(unit("/bin/true", "/etc/postern-gateway/gateway.toml"), "utf-8")
    command = [program, "security", "--offline=true", "--threshold=20", str(tmp_path / "postern-gateway.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout
