"""The page of the audit log lists each kind of event with its fields."""

import re
from pathlib import Path

from postern.api.list_query import AUDIT_PARAMETERS
from postern.journal.audit_event import CALLER, CODE, FIELDS

PAGE = Path(__file__).parents[3] / "app" / "postern" / "security" / "AUDIT.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| .+ \| (.+) \|$", re.MULTILINE)
GROUPS = {"the caller": CALLER, "the code": CODE}


def fields_in(cell: str) -> tuple[str, ...]:
    parts = cell.split(", ")
    return tuple(name for part in parts for name in GROUPS.get(part, (part.strip("`"),)))


def test_the_table_has_each_kind_of_event_with_its_fields():
    events = PAGE.read_text("utf-8").partition("### ")[0]
    assert {kind: fields_in(cell) for kind, cell in ROW.findall(events)} == {str(k): v for k, v in FIELDS.items()}


def test_the_page_says_what_a_group_of_fields_stands_for():
    text = " ".join(PAGE.read_text("utf-8").split())
    for group, names in (("The caller", CALLER), ("The code", CODE)):
        listed = ", ".join(f"`{name}`" for name in names[:-1])
        assert f"*{group}* stands for {listed} and `{names[-1]}`" in text


def test_the_page_has_each_filter_of_the_api():
    cells = re.findall(r"^\| (`[a-z`, ]+`) \| [^|]+ \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`([a-z]+)`", cell)]
    assert named == [*AUDIT_PARAMETERS, "limit", "cursor"]
