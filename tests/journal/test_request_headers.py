"""The headers of requests on record: all that a workflow may see, and never a credential."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.authoring.request import Request
from postern.journal.writing.request_headers import MAX_HEADER_BYTES, MAX_NAME, packed, written_headers
from postern.triggers.requested import NOTHING, WITHHELD
from tests.table import table

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiIxIn0.c2lnbmF0dXJl"


def recorded(*headers: tuple[str, str], withheld: frozenset[bytes] = NOTHING) -> list[tuple[str, str | None]]:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    text = written_headers(packed(Request("POST", "/triggers/x", _raw_headers=raw, _withheld=withheld)))
    return [(name, value) for name, value in json.loads(text)]


def test_headers_are_recorded_in_their_order_with_repeated_ones():
    sent = [
        ("host", "a"),
        ("x-hub-signature-256", "sha256=ab"),
        ("x-one", ""),
        ("x-one", "\xe9"),
        ("x-github-event", "x"),
    ]
    assert recorded(*sent) == sent
    assert recorded() == []


@table(
    ("name", "value"),
    [
        ("authorization", "Basic YTpi"),
        ("cookie", "session=1"),
        ("proxy-authorization", "Basic YTpi"),
        ("x-api-key", "1"),
        ("ocp-apim-subscription-key", "1"),
        ("x-functions-key", "1"),
        ("x-gitlab-token", "1"),
        ("x-telegram-bot-api-secret-token", "1"),
        ("x-forwarded-access-token", "1"),
        ("X_Auth_Token", "1"),
        ("x-session-id", "1"),
        ("x-auth", "1"),
        ("x-anything", f"Bearer {JWT}"),
    ],
)
def test_a_credential_is_named_and_not_recorded(name: str, value: str):
    assert recorded(("host", "a"), (name, value)) == [("host", "a"), (name, None)]


@pytest.mark.parametrize(
    "name", ["idempotency-key", "x-hub-signature-256", "user-agent", "x-auth-request-user", "tokenizer", "x-key-id"]
)
def test_other_names_are_no_credentials(name: str):
    assert recorded((name, "1")) == [(name, "1")]


def test_what_the_workflow_cannot_see_is_not_even_named():
    assert recorded(("authorization", f"Bearer {JWT}"), ("cookie", "a"), ("host", "a"), withheld=WITHHELD) == [
        ("host", "a")
    ]


def test_headers_that_do_not_fit_are_left_out():
    found = recorded(("a", "x" * (MAX_HEADER_BYTES - 1)), ("b", "y"), ("n" * (MAX_NAME + 1), "1"))
    assert [value if value is None else len(value) for _, value in found] == [MAX_HEADER_BYTES - 1, None, None]
    assert max(len(name) for name, _ in found) == MAX_NAME


NAMES = st.text(string.ascii_lowercase + "-_", min_size=1, max_size=20)
VALUES = st.text(st.characters(max_codepoint=255, exclude_characters="\n\r\x00"), max_size=30)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_any_headers_come_back_or_are_left_out_by_name(headers: list[tuple[str, str]]):
    found = recorded(*headers)
    assert [name for name, _ in found] == [name for name, _ in headers]
    assert all(kept in (None, sent) for (_, kept), (_, sent) in zip(found, headers, strict=True))
