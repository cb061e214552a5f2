"""The page about the design names the tree as it is."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "app"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`((?:postern|\.\.)/[\w./-]*)`", PAGE))


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_all_files_that_it_names_exist():
    assert len(NAMED) > 40
    assert [name for name in NAMED if not (FOLDER / name).exists()] == []


def test_every_room_and_module_of_the_package_is_named():
    package = FOLDER / "postern"
    rooms = {f"postern/{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {f"postern/{path.name}" for path in package.glob("*.py")}
    assert set(re.findall(r"`(postern/[\w./]+)`", section("The rooms"))) == rooms | modules


def test_the_glossary_has_at_most_20_words():
    rows = [line for line in section("Glossary").splitlines() if line.startswith("| ")][1:]
    assert 10 < len(rows) <= 20


def test_the_picture_has_the_steps_of_the_table_in_their_order():
    steps = re.findall(r"^\| (\w+) \| `", section("The path of a request"), re.MULTILINE)
    picture = ET.parse(FOLDER / "request.svg").getroot()
    names = [element.text for element in picture.iter() if element.get("class") == "name"]
    assert names == ["caller", *steps]
    assert "prefers-color-scheme: dark" in (FOLDER / "request.svg").read_text(encoding="utf-8")


def test_a_part_has_the_fields_that_the_page_explains():
    from postern.assembly.part import Part

    explained = section("Where to add things").split("1. `assembly/console_part.py`")[1].split("2. `create_app`")[0]
    assert [name for name in Part.__dataclass_fields__ if f"`{name}`" not in explained] == []
