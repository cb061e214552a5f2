"""The listings of the pages for authors are parts of files that tests run, and each of these files is on a page."""

import re
from pathlib import Path
from textwrap import indent

import pytest

import postern.authoring

ROOM = Path(postern.authoring.__file__).parent
ROOT = ROOM.parents[2]
PAGES = {name: (ROOM / name).read_text("utf-8") for name in ("WRITE.md", "RECIPES.md")}
FILES = {
    path.name: path.read_text("utf-8")
    for path in [
        *(ROOM / "first_steps").rglob("*.py"),
        *(ROOM / "recipes").glob("*.py"),
        ROOT / "workflows" / "hello.py",
    ]
}
LISTINGS = [
    (page, listing)
    for page, text in PAGES.items()
    for listing in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
]


def holds(text: str, listing: str) -> bool:
    """Whether a listing is a part of a file, or of a function in it."""
    return listing in text or indent(listing, "    ") in text


@pytest.mark.parametrize(("page", "listing"), LISTINGS, ids=range(len(LISTINGS)))
def test_a_listing_is_a_part_of_a_file(page: str, listing: str):
    assert [name for name, text in FILES.items() if holds(text, listing)] != []


def test_each_file_is_on_a_page():
    shown = {name for name, text in FILES.items() for _, listing in LISTINGS if holds(text, listing)}
    assert shown == set(FILES)


def test_the_readme_leads_to_the_pages():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [page for page in (*PAGES, "POWER-AUTOMATE.md") if f"app/postern/authoring/{page}" not in readme] == []
