"""What a RUN line sees of this machine: where packages come from, in its place and for as long as it runs."""

import sys
from pathlib import Path

import pytest

from deploy.container.stand_in import build_binds, build_environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it, and no variables that name sources of packages."""
    for name in build_environment():
        monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def test_variables_that_say_where_packages_come_from_are_handed_on_and_no_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("PIP_INDEX_URL", "https_proxy", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "x")
    for name in ("PIP_TARGET", "PIP_USER", "POSTERN_TENANT_ID", "AZURE_CLIENT_SECRET", "XPIP_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    assert sorted(build_environment()) == ["NO_PROXY", "PIP_INDEX_URL", "SSL_CERT_FILE", "https_proxy"]


def test_pips_configuration_and_the_folders_that_it_names_are_seen_read_only(home: Path):
    for folder in ("wheels", "index/simple"):
        (home / folder).mkdir(parents=True)
    config = home / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"[global]\nfind-links = {home}/wheels\nextra-index-url = file://{home}/index/simple\n"
        f"    https://example.com/etc\nclient-cert = {home}/gone.pem\n",
        "utf-8",
    )
    found = {source: (place, read_only) for source, place, read_only in build_binds() if source.startswith(str(home))}
    assert found == {
        str(config): ("/root/.config/pip/pip.conf", True),
        str(home / "wheels"): (str(home / "wheels"), True),
        str(home / "index"): (str(home / "index"), True),
    }


def test_a_certificate_that_a_variable_names_is_seen_in_its_place(home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "ca.pem").touch()
    monkeypatch.setenv("PIP_CERT", str(home / "ca.pem"))
    assert (str(home / "ca.pem"), str(home / "ca.pem"), True) in build_binds()
