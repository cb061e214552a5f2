"""Names and sentences of operations."""

import pytest

from postern import Context, anonymous, specific_users, tenant_users, workflow
from postern.authoring.workflow import Workflow
from postern.openapi.operations import MAX_SUMMARY, conditions_of, description_of, operation_id, summary_of, unique
from tests.table import table


def made(docstring: str = "", name: str = "book-room", methods: tuple[str, ...] = ("POST",)) -> Workflow:
    def function(ctx: Context) -> None: ...

    function.__doc__ = docstring
    return workflow(access=anonymous(), name=name, methods=methods)(function)


@pytest.mark.parametrize(
    ("name", "methods", "expected"),
    [
        ("book-room", ("POST",), "BookRoom"),
        ("hello", ("GET",), "Hello"),
        ("book-room", ("GET", "POST"), "GetBookRoom"),
        ("3d-print", ("GET",), "Get3dPrint"),
        ("a-1-b", ("GET",), "A1B"),
    ],
)
def test_an_operation_id_is_made_of_the_name(name: str, methods: tuple[str, ...], expected: str):
    assert operation_id(made(name=name, methods=methods), "GET") == expected


def test_handshakes_leave_the_id_of_the_operation_that_callers_use():
    of = made(methods=("POST", "OPTIONS", "HEAD"))
    assert [operation_id(of, method) for method in of.methods] == ["BookRoom", "OptionsBookRoom", "HeadBookRoom"]


def test_ids_that_fold_together_are_numbered():
    given = ["A1", "A1", "A12", "a1", "GetX", "GetX", "A13"]
    assert list(unique(given)) == ["A1", "A14", "A12", "a15", "GetX", "GetX2", "A13"]


@table(
    ("docstring", "summary", "description"),
    [
        ("Book a room.", "Book a room", "Book a room."),
        ("Book a room", "Book a room", "Book a room."),
        ("", "Book room", "Runs the workflow book-room."),
        ("Who is asking?", "Who is asking?", "Who is asking."),
        ("???", "Book room", "Runs the workflow book-room."),
        ("部屋を予約します。", "部屋を予約します", "部屋を予約します。"),
        ("Book.\n\nAt length:\n- one\n", "Book", "Book.\n\nAt length:\n- one."),
        ("  \n  Indented.\n  ", "Indented", "Indented."),
        ("Use eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x here.", "Use [token] here", "Use [token] here."),
    ],
)
def test_sentences_are_made_of_the_docstring(docstring: str, summary: str, description: str):
    assert (summary_of(made(docstring)), description_of(made(docstring))) == (summary, description)


@pytest.mark.parametrize("docstring", ["word " * 30, "x" * 100, "word, " * 20, "x" * 80 + ".", "x" * 81])
def test_a_summary_is_short(docstring: str):
    summary = summary_of(made(docstring))
    assert len(summary) <= MAX_SUMMARY
    assert summary.endswith("…") or summary == docstring.rstrip(".")
    assert not summary.endswith((" …", ",…"))


def test_the_conditions_of_an_access_mode_are_shown_without_ids():
    some_id = "11111111-1111-4111-8111-111111111111"
    access = specific_users(
        some_id, apps=False, guests=False, agents=False, clients=[some_id], roles=["A", "B"], scopes=["C"]
    )
    conditions = conditions_of(access)
    assert conditions == [
        "people only",
        "no guests",
        "no agents",
        "through certain applications only",
        "with the scope C",
        "with the app role A or B",
    ]
    assert conditions_of(tenant_users(auth_context="strong")) == ["with a stronger sign-in (Conditional Access)"]
    assert conditions_of(anonymous()) == conditions_of(tenant_users()) == []
    assert conditions_of(anonymous(), networks=True) == ["from certain networks only"]
    assert conditions_of(tenant_users(apps=False), networks=True) == ["people only", "from certain networks only"]
