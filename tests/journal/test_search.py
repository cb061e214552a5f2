"""What an operator sees of a run is found by a search, on both kinds of database, and by nobody who may not see it."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from postern import Caller, Request, workflow
from postern.ids import new_id
from postern.journal.reading.filters import RunFilter
from postern.journal.reading.queries import list_runs
from postern.journal.run import Outcome, Run, State
from postern.journal.search_text import search_form, search_term
from postern.journal.writing.rows import facts, run_row
from postern.journal.writing.statements import write_runs

pytestmark = pytest.mark.slow

JSON = ((b"content-type", b"application/json"),)
OWNER = ("t", "o")


@workflow
async def hello(ctx) -> None: ...


def recorded(engine: Engine, body: bytes = b"", outcome: Outcome | None = None, name: str = "") -> str:
    caller = Caller("user", object_id="o", tenant_id="t", name=name)
    run = Run(
        new_id(),
        hello,
        caller,
        Request("POST", "/triggers/hello", body=body, content_type="application/json"),
        time.time(),
    )
    with engine.begin() as connection:
        write_runs(connection, [run_row(facts(run), "node")])
    run.outcome, run.ended_at = outcome or Outcome(State.SUCCEEDED, 200, b"1", JSON), time.time()
    with engine.begin() as connection:
        write_runs(connection, [run_row(facts(run), "node")])
    return run.id


def found(engine: Engine, text: str, owner: tuple[str, str] | None = None) -> list[str]:
    with engine.begin() as connection:
        return [record.id for record in list_runs(connection, RunFilter(text=text, owner=owner)).items]


SEEN: list[tuple[Any, list[str]]] = [
    ({"customer": "M\u00fcller"}, ["M\u00fcller", "m\u00fcller", "M\u00dcLLER", '"M\u00fcller"', "customer"]),
    ("\u0130\u0131 Stra\u00dfe", ["STRASSE", "stra\u00dfe"]),
    ("\u041f\u0440\u0438\u0432\u0435\u0442", ["\u043f\u0440\u0438\u0432\u0435\u0442"]),
    ('say "hi"', ['say "hi"', 'SAY "HI"']),
    ("C:\\temp\\new", ["C:\\temp", "c:\\TEMP\\new"]),
    ("https://a.example/b", ["https://a.example/b", "a.example/B"]),
    ("a\tb\nc", ["a\tb", "b\nc"]),
    ("\U0001f600 ok", ["\U0001f600", "\U0001f600 OK"]),
    ("100%_x", ["100%", "%_x"]),
]
WRITERS: dict[str, Callable[[Any], str]] = {
    "ASCII": json.dumps,
    "UTF-8": lambda value: json.dumps(value, ensure_ascii=False),
    "PHP": lambda value: json.dumps(value).replace("/", "\\/"),
    "upper-case digits": lambda value: json.dumps(value).replace("\\u00fc", "\\u00FC"),
}


@pytest.mark.parametrize(("value", "texts"), SEEN, ids=str)
@pytest.mark.parametrize("how", WRITERS)
def test_a_body_is_found_by_what_it_says_however_it_was_written(engine: Engine, value: Any, texts: list[str], how: str):
    body = WRITERS[how](value).encode()
    run = recorded(engine, body)
    reply = recorded(engine, b"", Outcome(State.SUCCEEDED, 200, body, JSON))
    newest_first = [reply, run]
    for text in texts:
        assert found(engine, text) == found(engine, text, OWNER) == newest_first, text
    assert found(engine, "nothing of the kind") == []


def test_names_are_found_in_any_case(engine: Engine):
    run = recorded(engine, name="Ren\u00e9e \u00d6ner")
    assert found(engine, "REN\u00c9E \u00f6NER") == [run]


@pytest.mark.parametrize("message", ["no order 4711", "kein Auftrag f\u00fcr M\u00fcller 4711"])
def test_an_errors_message_is_found_by_those_who_see_it(engine: Engine, message: str):
    hidden = recorded(engine, b"", Outcome(State.FAILED, 500, b"{}", JSON, "ValueError", message))
    shown = recorded(engine, b"", Outcome(State.FAILED, 409, b"{}", JSON, "Problem", message, shown=True))
    for text in ("4711", message.upper(), message[-6:]):
        assert found(engine, text) == [shown, hidden]
        assert found(engine, text, OWNER) == [shown]
    assert found(engine, "valueerror", OWNER) == [hidden]


def test_a_secret_that_is_not_recorded_is_not_found(engine: Engine):
    recorded(engine, b'{"p\\u0061ssword": "hunt\\u00e9r2", "a": "\\u00fc"}')
    assert found(engine, "hunt\u00e9r2") == []
    assert len(found(engine, "[redacted]")) == 1


def test_plain_texts_are_stored_once():
    assert search_form('{"name": "Ada"}', None, "", "a/b") is None


@given(st.text(), st.integers(0, 20), st.integers(1, 20))
def test_each_part_of_a_text_is_in_its_form(text: str, start: int, length: int):
    part = text[start : start + length]
    form = search_form(json.dumps(text)) or json.dumps(text).lower()
    clean = part.replace("\x00", "\ufffd")
    if not any("\ud800" <= each <= "\udfff" or ord(each) < 32 or ord(each) == 127 for each in clean):
        assert search_term(clean) in form
