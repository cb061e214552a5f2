"""The access review as JSON and CSV, and what changed between two."""

import copy
import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.security.review.documents import COLUMNS, NotAReview, changes, review_csv, review_json
from postern.security.review.review import Review, Row

LISA = Row("pay", "person", "specific_users(lisa)", "t", "1", "Lisa", ("no guest",), 1.0, 2.0, 3, ("guest",))
OPEN = Row("hello", "anyone", "anonymous()", name="Anyone", marks=("anyone", "unexpected"))
OPERATOR = Row("", "caller", "POSTERN_OPERATORS", "t", "2")


def document(*rows: Row, directory: str = "") -> dict[str, Any]:
    return review_json(Review(0.0, rows, None, directory))


def test_the_document_has_every_row_with_its_fields():
    found = document(LISA, OPEN, OPERATOR)
    assert found["unexpected"] == ["hello"]
    assert (found["version"], found["at"], found["known_since"]) == (1, "1970-01-01T00:00:00Z", None)
    assert found["rows"][0] == {
        "workflow": "pay",
        "who": "person",
        "name": "Lisa",
        "object_id": "1",
        "tenant_id": "t",
        "why": "specific_users(lisa)",
        "conditions": ["no guest"],
        "first_used_at": "1970-01-01T00:00:01Z",
        "last_used_at": "1970-01-01T00:00:02Z",
        "uses": 3,
        "marks": ["guest"],
    }
    assert found["rows"][2]["workflow"] is None


def read(review: Review) -> list[list[str]]:
    return list(csv.reader(io.StringIO(review_csv(review), newline="")))


def test_csv_has_the_same_rows():
    header, lisa, _, operator = read(Review(0.0, (LISA, OPEN, OPERATOR), None, ""))
    assert header == list(COLUMNS)
    assert lisa[:3] == ["pay", "person", "Lisa"]
    assert operator[0] == ""


@given(st.text(max_size=30))
def test_no_cell_of_the_csv_is_a_formula(name: str):
    """Whatever a name in the directory begins with."""
    rows = read(Review(0.0, (replace(LISA, name=name, conditions=(name,)),), None, ""))
    assert len(rows) == 2
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in rows[1])
    assert name in rows[1][COLUMNS.index("name")]


def test_the_same_review_has_no_changes():
    now = document(LISA, OPEN, OPERATOR)
    assert changes(json.loads(json.dumps(now)), now) == {"added": [], "removed": [], "changed": []}


def test_what_was_added_removed_and_changed_is_told():
    wider = replace(LISA, conditions=(), marks=())
    found = changes(document(LISA, OPERATOR), document(wider, OPEN))
    assert [row["workflow"] for row in found["added"]] == ["hello"]
    assert [row["object_id"] for row in found["removed"]] == ["2"]
    assert [(each["before"]["conditions"], each["after"]["conditions"]) for each in found["changed"]] == [
        (["no guest"], [])
    ]


def test_uses_and_names_are_no_changes():
    assert changes(document(LISA), document(replace(LISA, name="Lisa M.", uses=9, last_used=9.0)))["changed"] == []


def test_a_directory_that_cannot_be_asked_is_no_change():
    unasked = replace(LISA, who="caller", marks=("unknown",))
    for earlier, now in (
        (document(LISA), document(unasked, directory="no answer")),
        (document(unasked, directory="no answer"), document(LISA)),
    ):
        assert changes(earlier, now) == {"added": [], "removed": [], "changed": []}
    assert changes(document(LISA), document(replace(LISA, marks=("guest", "revoked"))))["changed"]


def broken(**fields: Any) -> dict[str, Any]:
    made = copy.deepcopy(document(LISA))
    made["rows"][0] |= fields
    return made


@pytest.mark.parametrize(
    "earlier",
    [
        *([], None, "x", 1, {}, {"version": 2, "rows": []}, {"version": 1}, {"version": 1, "rows": [1]}),
        *(
            {"version": 1, "rows": [{}]},
            broken(marks=None),
            broken(marks=[1]),
            broken(object_id=[]),
            broken(workflow=1),
        ),
    ],
)
def test_a_file_that_is_no_review_is_said_to_be_none(earlier: Any):
    with pytest.raises(NotAReview):
        changes(earlier, document(LISA))
