"""The page on debugging: its launch file starts what it says, its example loads, and it states the program's bounds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import postern.authoring
from postern.catalog import Catalog
from postern.cli.commands import COMMANDS
from postern.logs.run_streams import SHORT
from postern.runs.breakpoints import ONLY_IN_DEV, VARIABLE
from postern.runs.pauses import DEBUGGERS
from tests.catalog.test_catalog import bind

PAGE = Path(postern.authoring.__file__).with_name("DEBUGGING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_launch_file_starts_the_command_and_attaches_where_the_page_says():
    launch: dict[str, Any] = json.loads(block("json"))
    started, attached = launch["configurations"]
    assert (started["module"], started["args"]) == ("postern", ["dev"])
    assert started["args"][0] in COMMANDS
    assert "{host}:{port}".format(**attached["connect"]) in PAGE.replace(json.dumps(attached["connect"]), "")
    assert {each["subProcess"] for each in launch["configurations"]} == {False}


def test_the_example_loads(tmp_path: Path, own_modules: None):
    (tmp_path / "reserve.py").write_text(block("python"), encoding="utf-8")
    catalog = Catalog(tmp_path, bind)
    catalog.load()
    assert (list(catalog.snapshot.triggers), list(catalog.snapshot.faults)) == (["reserve"], [])


@pytest.mark.parametrize("text", [ONLY_IN_DEV.split(":")[0].split(" works")[1], VARIABLE, *DEBUGGERS])
def test_it_has_the_words_of_the_program(text: str):
    assert text in PAGE


def test_the_short_id_has_as_many_characters_as_it_says():
    assert SHORT == 4
    assert "last four characters" in PAGE
