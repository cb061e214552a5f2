"""The page of the kit: its listings are parts of files that tests run, and its names are the program's."""

import re
from pathlib import Path

import pytest

from postern import testing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "app" / "postern" / "testing" / "README.md").read_text("utf-8")
LISTINGS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {path.name: path.read_text("utf-8") for path in (ROOT / "tests" / "workflows").glob("test_*.py")}


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.strip().splitlines()[-1][:40])
def test_a_listing_is_a_part_of_a_file(listing: str):
    assert [name for name, text in FILES.items() if listing in text] != []


@pytest.mark.parametrize("name", sorted(set(testing.__all__) - {"Result", "Sent", "Started"}))
def test_each_name_of_the_kit_is_on_the_page_and_is_there(name: str):
    assert re.search(rf"\b{name}\b", PAGE)
    assert getattr(testing, name) is not None


def test_each_example_has_its_test_in_six_lines():
    examples = set()
    for path in (ROOT / "workflows").glob("*.py"):
        found = re.findall(r"@workflow\(access=.*?\)\n(?:async )?def (\w+)", path.read_text("utf-8"), re.DOTALL)
        examples |= {name.replace("_", "-") for name in found}
    called = set(re.findall(r'call\("([a-z-]+)"', FILES["test_workflows.py"]))
    assert examples - called == {"book-desk"}  # which register-visitor calls
    bodies = re.findall(r"^def \w+\(\):\n((?:    .*\n)+)", FILES["test_workflows.py"], re.MULTILINE)
    assert all(body.count("\n") <= 6 for body in bodies)
