"""An answer: its header fields, and their lines on the wire."""

import pytest

from postern.triggers.reply import Answer, lines_of

FIELDS = [(b"content-type", b"text/plain"), (b"x-note", b"a: b")]
MORE = ((b"ratelimit", b'"caller";r=1;t=0'),)


def made_of_fields() -> Answer:
    return Answer(200, [*FIELDS], b"")


def made_of_lines() -> Answer:
    return Answer(200, [], b"", lines_of(FIELDS))


@pytest.fixture(params=[made_of_fields, made_of_lines])
def answer(request: pytest.FixtureRequest) -> Answer:
    made: Answer = request.param()
    return made


def test_the_fields_and_their_lines_say_the_same(answer: Answer):
    assert answer.lines == b"content-type: text/plain\r\nx-note: a: b\r\n"
    assert answer.headers == FIELDS
    assert answer.lines == lines_of(FIELDS)


@pytest.mark.parametrize("looked_at_before", [False, True])
def test_fields_are_added_behind_the_others(answer: Answer, looked_at_before: bool):
    if looked_at_before:
        assert answer.headers
    answer.add(MORE)
    assert answer.lines == lines_of([*FIELDS, *MORE])
    assert answer.headers == [*FIELDS, *MORE]


def test_a_change_of_the_list_changes_the_lines(answer: Answer):
    answer.headers.append((b"connection", b"close"))
    assert answer.lines.endswith(b"\r\nconnection: close\r\n")
    answer.headers = [*MORE]
    assert answer.lines == lines_of(MORE)


def test_what_is_added_to_one_answer_is_not_in_the_list_of_another():
    shared = [*FIELDS]
    first, second = Answer(200, shared, b""), Answer(200, shared, b"")
    first.add(MORE)
    assert second.headers == FIELDS


def test_an_answer_without_fields_has_no_lines():
    assert lines_of([]) == b""
    assert Answer(204, [], b"").lines == b""


def test_what_is_printed_of_an_answer_has_nothing_of_its_content():
    assert repr(Answer(200, [*FIELDS], b"a secret")) == "Answer(status=200)"
