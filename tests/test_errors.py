"""What a caller may see of an error."""

import pytest

from postern.errors import PROBLEMS, Problem, problem
from tests.table import table


@table("code", PROBLEMS)
def test_every_row_becomes_a_problem_document(code):
    """A problem of the table shows its row and the request id (RFC 9457)."""
    row = PROBLEMS[code]
    assert problem(code).document("r1") == {
        "type": f"urn:postern:problem:{code}",
        "title": row.title,
        "status": row.status,
        "code": code,
        "detail": row.detail,
        "request_id": "r1",
    }


def test_rows_are_errors_with_sentences():
    """Statuses are 4xx and 5xx, details are sentences."""
    assert all(400 <= row.status <= 599 and row.title and row.detail.endswith(".") for row in PROBLEMS.values())


def test_the_reason_stays_inside():
    """The private reason is in no document and in no text of the exception."""
    found = problem("unauthenticated", reason="planted-reason", headers={"WWW-Authenticate": "Bearer"})
    assert found.reason == "planted-reason"
    assert "planted" not in str(found.document("r1", "run1"))
    assert "planted" not in repr(found)
    assert found.headers == {"WWW-Authenticate": "Bearer"}


def test_detail_and_members_are_shown():
    """A more specific sentence replaces the table's. Further members are added and override none."""
    document = problem("invalid-body", detail="No name.", errors=["name"], request_id="forged").document("r1", "run1")
    assert document["detail"] == "No name."
    assert document["errors"] == ["name"]
    assert (document["request_id"], document["run_id"]) == ("r1", "run1")


def test_an_authors_problem():
    """An author gives a status and a sentence; the other members follow from them."""
    document = Problem(409, "already booked").document("r1")
    assert (document["status"], document["code"], document["title"]) == (409, "workflow-problem", "Workflow problem")
    assert document["detail"] == str(Problem(409, "already booked")) == "already booked"


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_problem_is_an_error(status):
    """Other statuses need a Reply."""
    with pytest.raises(ValueError, match="from 400 to 599"):
        Problem(status)


def test_an_unknown_code_is_a_mistake_of_ours():
    """Codes are those of the table."""
    with pytest.raises(KeyError):
        problem("no-such-code")
