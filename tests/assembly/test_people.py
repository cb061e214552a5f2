"""The table [people] while the server runs."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postern.assembly import load_catalog
from postern.assembly.people import CurrentPeople
from postern.settings import Settings, load_settings

LISA, ADA, BOB = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))


def settings_of(folder: Path, text: str) -> Settings:
    (folder / "postern.toml").write_text(text, encoding="utf-8")
    return load_settings({}, folder=folder, defaults={"people": {"ada": ADA}})


def change(folder: Path, text: str) -> None:
    """Another content in another file, so that times do not matter."""
    (folder / "new.toml").write_text(text, encoding="utf-8")
    (folder / "new.toml").replace(folder / "postern.toml")


def test_people_are_those_of_now(tmp_path: Path):
    people = CurrentPeople(settings_of(tmp_path, f'[people]\nlisa = "{LISA}"\n'))
    assert people() == {"ada": ADA, "lisa": LISA}
    change(tmp_path, f'[people]\nbob = "{BOB}"\n')
    assert people() == {"ada": ADA, "bob": BOB}
    (tmp_path / "postern.toml").unlink()
    assert people() == {"ada": ADA}


@pytest.mark.parametrize(
    "text", ["[people", '[people]\nbob = "MARKER"\n', '[people]\n"b b" = 1\n', "people = 1\n", "\udcff"], ids=ascii
)
def test_a_file_that_cannot_be_used_changes_nothing_and_is_logged_once(tmp_path: Path, text: str):
    people = CurrentPeople(settings_of(tmp_path, f'[people]\nlisa = "{LISA}"\n'))
    (tmp_path / "new.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "new.toml").replace(tmp_path / "postern.toml")
    with capture_logs() as logs:
        assert people() == people() == {"ada": ADA, "lisa": LISA}
    assert [(line["event"], "postern check" in line["fix"]) for line in logs] == [("settings-not-read", True)]
    assert "MARKER" not in str(logs)


def test_what_needs_a_restart_says_so(tmp_path: Path):
    people = CurrentPeople(settings_of(tmp_path, f'[people]\nlisa = "{LISA}"\n'))
    with capture_logs() as logs:
        change(tmp_path, f'port = 9000\n[people]\nlisa = "{LISA}"\n')
        people()
        change(tmp_path, f'port = 9000\n[people]\nlisa = "{BOB}"\n')
        people()
    assert [line["event"] for line in logs] == ["settings-changed", "people-changed"]
    assert "restart the server" in logs[0]["fix"]


def test_a_workflow_is_loaded_when_its_caller_is_added_to_people(tmp_path: Path, own_modules: None):
    (tmp_path / "workflows").mkdir()
    text = "from postern import specific_users, workflow\n@workflow(access=specific_users('bob'))\ndef pay(ctx): ...\n"
    (tmp_path / "workflows" / "pay.py").write_text(text, encoding="utf-8")
    more = f'workflows = "{tmp_path}/workflows"\ntenant_id = "{LISA}"\naudience = "api://x"\n'
    catalog = load_catalog(settings_of(tmp_path, more))
    assert "'bob'" in catalog.snapshot.faults[0].cause
    change(tmp_path, f'{more}[people]\nbob = "{BOB}"\n')
    assert set(catalog.load().triggers) == {"pay"}
    assert catalog.snapshot.faults == ()


@pytest.mark.parametrize("broken", [False, True])
def test_a_caller_who_is_removed_from_people_loses_access(tmp_path: Path, own_modules: None, broken: bool):
    """At once, and also where the file is faulty by now, so that its last version would go on."""
    (tmp_path / "workflows").mkdir()
    text = "from postern import specific_users, workflow\n@workflow(access=specific_users('bob'))\ndef pay(ctx): ...\n"
    (tmp_path / "workflows" / "pay.py").write_text(text, encoding="utf-8")
    more = f'workflows = "{tmp_path}/workflows"\ntenant_id = "{LISA}"\naudience = "api://x"\n'
    catalog = load_catalog(settings_of(tmp_path, f'{more}[people]\nbob = "{BOB}"\n'))
    assert set(catalog.snapshot.triggers) == {"pay"}
    if broken:
        (tmp_path / "workflows" / "pay.py").write_text("def (", encoding="utf-8")
        assert set(catalog.load().triggers) == {"pay"}
    change(tmp_path, more)
    assert set(catalog.load().triggers) == set()
    change(tmp_path, f'{more}[people]\nbob = "{ADA}"\n')
    served = catalog.load().triggers
    assert set(served) == (set() if broken else {"pay"})
