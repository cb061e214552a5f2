"""Where processes look for modules."""

import os
from pathlib import Path

import pytest

from postern.import_path import OWN, without_working_directory


@pytest.mark.parametrize(
    ("given", "own", "expected"),
    [
        (["", "/usr/lib/python3", "/site"], "/site", ["/usr/lib/python3", "/site"]),
        (["{here}", "/usr/lib/python3", "/site"], "/site", ["/usr/lib/python3", "/site"]),
        ([".", "{here}/", "{link}", "/site"], "/site", ["/site"]),
        (["lib", "/site"], "/site", ["{here}/lib", "/site"]),
        (["/usr/lib/python3"], "/elsewhere", ["/usr/lib/python3", "/elsewhere"]),
        (["{here}", "/usr/lib/python3"], "{here}", ["/usr/lib/python3", "{here}"]),
    ],
)
def test_the_working_directory_is_left_out(
    given: list[str], own: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(here)

    def at(text: str) -> str:
        return text.format(here=here, link=tmp_path / "link")

    assert without_working_directory([at(each) for each in given], at(own)) == [at(each) for each in expected]


def test_a_working_directory_that_is_gone_is_in_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    os.chdir(here)
    here.rmdir()
    assert without_working_directory(["", "/site"]) == ["/site", OWN]
