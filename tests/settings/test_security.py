"""The settings of conditional access: networks of clients, and names of authentication contexts."""

from pathlib import Path
from typing import Any

import pytest

from postern.settings import SettingsFault, load_settings


def load(folder: Path, networks: str = "", **contexts: Any) -> Any:
    lines = "".join(f"{name} = {value!r}\n" for name, value in contexts.items())
    (folder / "postern.toml").write_text(f"[auth_contexts]\n{lines}", encoding="utf-8")
    return load_settings({"POSTERN_ALLOWED_NETWORKS": networks}, folder=folder)


@pytest.mark.parametrize(
    ("written", "networks"),
    [
        ("", ()),
        ("10.0.0.0/8, 2001:DB8::/32", ("10.0.0.0/8", "2001:db8::/32")),
        ("192.0.2.7", ("192.0.2.7/32",)),
        ("::ffff:10.0.0.0/104", ("10.0.0.0/8",)),
        ("0.0.0.0/0,::/0", ("0.0.0.0/0", "::/0")),
    ],
)
def test_networks_are_read_as_cidr(tmp_path: Path, written: str, networks: tuple[str, ...]):
    assert load(tmp_path, written).allowed_networks == networks


@pytest.mark.parametrize("written", ["*", "10.0.0.1/8", "office.example", "10.0.0.0/8,192.0.2"])
def test_a_network_that_is_none_is_a_fault_with_its_place(tmp_path: Path, written: str):
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, written)
    assert "POSTERN_ALLOWED_NETWORKS" in str(caught.value)
    assert "is not an address or a network" in str(caught.value)


def test_authentication_contexts_have_names(tmp_path: Path):
    assert load(tmp_path, strong="c1", strongest="c99").auth_contexts == {"strong": "c1", "strongest": "c99"}


@pytest.mark.parametrize("context", ["c0", "c100", "C1", "1", "c1 ", "", "strong", 1])
def test_what_is_no_authentication_context_is_a_fault(tmp_path: Path, context: Any):
    with pytest.raises(SettingsFault) as caught:
        load(tmp_path, strong=context)
    assert "auth_contexts.strong" in str(caught.value)
