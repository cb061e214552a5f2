"""compose.yaml, the Dockerfile and the page agree; and the database lets in by its socket whom they say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from deploy.container.empty_root import DOCKERFILE
from deploy.container.instructions import needed, read_instructions, stages_of
from postern.server.process import GRACE
from postern.settings import load_settings
from tests.deploy.image import demand_means
from tests.deploy.peer import COMPOSE, DATABASE, FOLDER, OWNER, SERVER, ask, compose_database

PAGE = (FOLDER / "README.md").read_text("utf-8")
STAGES = stages_of(read_instructions(DOCKERFILE.read_text("ascii")))[1]
FINAL = {step.name: step for stage in needed(STAGES, None) for step in stage.steps}


def seconds(duration: str) -> int:
    """A duration as compose writes it."""
    return int(duration.removesuffix("s"))


def test_they_agree_on_user_port_and_places():
    assert FINAL["USER"].text == SERVER["user"] == "10001:10001"
    assert (FINAL["EXPOSE"].text, SERVER["ports"]) == ("8080", ["127.0.0.1:8080:8080"])
    assert json.loads(FINAL["VOLUME"].text) == ["/srv/postern/var"]
    assert "/srv/postern/var" in [volume["target"] for volume in SERVER["volumes"]]
    assert FINAL["ENTRYPOINT"].exec_form() == ["postern", "serve"]
    assert SERVER["build"]["target"] in {stage.name for stage in STAGES}
    for fact in ("10001", "127.0.0.1:8080", "/srv/postern/var", "/srv/postern/workflows", "/opt/postern"):
        assert fact in PAGE, fact
    base = next(stage.image for stage in STAGES if stage.name == "builder")
    assert {stage.image for stage in STAGES if "/" in stage.image} == {base}
    assert re.fullmatch(r"docker\.io/library/python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert re.fullmatch(r"docker\.io/library/postgres:18\.[0-9]+-bookworm@sha256:[0-9a-f]{64}", DATABASE["image"])


def test_the_health_check_is_the_same_and_has_time_for_its_patience():
    health = FINAL["HEALTHCHECK"]
    assert SERVER["healthcheck"]["test"] == ["CMD", *json.loads(health.text.removeprefix("CMD "))]
    assert {name.replace("-", "_"): value for name, value in health.flags} == {
        name: str(value) for name, value in SERVER["healthcheck"].items() if name != "test"
    }
    assert seconds(SERVER["healthcheck"]["timeout"]) > 3


@pytest.mark.parametrize("service", ["postern", "database"])
def test_each_service_is_sealed_and_bounded(service: str):
    found = COMPOSE["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert "cap_add" not in found
    assert "privileged" not in found
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not found["user"].startswith("0")
    assert found["logging"]["options"].keys() == {"max-size", "max-file"}
    assert found["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert found["healthcheck"]["test"]
    assert found["restart"] == "unless-stopped"
    for volume in found["volumes"]:
        assert volume.get("read_only") or volume["target"] in (
            "/srv/postern/var",
            "/var/lib/postgresql",
            "/var/run/postgresql",
        )


def test_a_stop_is_waited_for_longer_than_the_servers_grace():
    assert seconds(SERVER["stop_grace_period"]) >= GRACE + 5


def test_the_servers_proxy_is_the_gateway_of_its_network():
    network = COMPOSE["networks"]["front"]["ipam"]["config"][0]
    assert SERVER["environment"]["POSTERN_TRUSTED_PROXIES"] == network["gateway"]
    assert (SERVER["networks"], DATABASE["network_mode"]) == (["front"], "none")


def test_no_password_stands_anywhere(tmp_path: Path):
    settings = dict(SERVER["environment"])
    url = make_url(settings["POSTERN_DATABASE_URL"])
    assert (url.host, url.password, url.query["host"]) == (None, None, "/run/postgresql")
    assert url.query["host"] in [volume["target"] for volume in SERVER["volumes"]]
    assert load_settings(settings, folder=tmp_path).database_url == settings["POSTERN_DATABASE_URL"]
    assert "secrets" not in COMPOSE
    assert [name for name in DATABASE["environment"] if not name.endswith("_FILE")] == []
    example = (FOLDER / "postern.env.example").read_text("ascii")
    values = [line.partition("=")[2] for line in example.splitlines() if line and not line.startswith("#")]
    assert set(values) == {""}


@pytest.fixture(scope="module")
def socket_folder() -> Iterator[Path]:
    """The database of compose.yaml."""
    demand_means()
    with compose_database() as folder:
        yield folder


@pytest.mark.parametrize(
    ("uid", "role", "database", "reported"),
    [
        (10001, "postern", "postern", ""),
        (999, "postgres", "postern", ""),
        (10001, "postgres", "postern", 'Peer authentication failed for user "postgres"'),
        (10001, "postern", "postgres", "no pg_hba.conf entry"),
        (10002, "postern", "postern", 'Peer authentication failed for user "postern"'),
        (999, "postern", "postern", 'Peer authentication failed for user "postern"'),
        (0, "postern", "postern", 'Peer authentication failed for user "postern"'),
    ],
)
@pytest.mark.process
def test_the_database_accepts_by_its_socket_the_servers_user_only_and_in_its_own_role(
    socket_folder: Path, uid: int, role: str, database: str, reported: str
):
    sql = "CREATE TEMPORARY TABLE made (n int); SELECT 'in'"
    done = ask(uid, socket_folder, role, database, sql)
    if reported:
        assert done.returncode != 0
        assert reported in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("in\n", "")


@pytest.mark.process
def test_the_database_listens_on_no_address(socket_folder: Path):
    assert ask(OWNER, socket_folder, "postgres", "postgres", "SHOW listen_addresses").stdout == "\n"
