"""The settings of tests: those of the project, with nothing of an installation."""

import re
from pathlib import Path

import pytest

from postern.testing.project import folder_of, project_settings

ROOT = Path(__file__).parents[2]
REAL = "99999999-9999-4999-8999-999999999999"
BOB = "77777777-7777-4777-8777-777777777777"

TOML = f"""
tenant_id = "{REAL}"
key_vault_url = "https://real.vault.azure.net"
allowed_networks = "10.0.0.0/8"

[people]
bob = "{BOB}"

[connections.shop]
base_url = "https://shop.example/v1"
auth = {{type = "none"}}
"""

ENVIRONMENT = {
    "POSTERN_TENANT_ID": REAL,
    "POSTERN_AUDIENCE": "api://real",
    "POSTERN_AUTHORITY": "https://login.real.example",
    "POSTERN_DATABASE_URL": "postgresql://real.example/real",
    "POSTERN_PUBLIC_URL": "https://real.example",
    "POSTERN_CLIENT_ID": REAL,
    "POSTERN_KEY_VAULT_URL": "https://real.vault.azure.net",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "workflows").mkdir(parents=True)
    (folder / "postern.toml").write_text(TOML, "utf-8")
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()), "utf-8")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return folder


def test_people_and_connections_are_the_projects_and_all_that_names_an_installation_is_not(
    project: Path, tmp_path: Path
):
    settings, tenant = project_settings(project, tmp_path / "scratch")
    assert settings.people["bob"] == BOB
    assert settings.connections["shop"].base_url == "https://shop.example/v1"
    assert {"graph", "my-profile"} < set(settings.connections)  # as in `postern dev`
    assert settings.workflows == project / "workflows"
    shown = repr(settings.model_dump()) + settings.database_url
    assert "real" not in shown
    assert REAL not in shown
    assert settings.database_url == f"sqlite:///{tmp_path / 'scratch' / 'postern.db'}"
    assert settings.allowed_networks == ()
    assert tenant.who("bob").object_id == BOB


def test_each_session_has_a_key_of_its_own(project: Path, tmp_path: Path):
    keys = [project_settings(project, tmp_path / name)[1].signing_keys[0].kid for name in ("one", "two")]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("start", "found"), [(".", "."), ("tests", "."), ("tests/deep", "."), ("workflows", ".")], ids=lambda each: each
)
def test_the_project_is_the_nearest_folder_with_settings_or_workflows(project: Path, start: str, found: str):
    (project / "tests" / "deep").mkdir(parents=True)
    assert folder_of((project / start).resolve()) == (project / found).resolve()


def test_only_the_kit_replaces_what_is_outside():
    """No command, setting or variable does."""
    naming = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "app" / "postern").rglob("*.py")
        if re.search(r"\boutside=(?!NETWORK)", path.read_text("utf-8"))
    ]
    assert naming == ["app/postern/testing/server.py"]
