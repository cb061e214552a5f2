"""Stubs: which one is for a request, and what it replies."""

from typing import Any

import pytest

from postern.testing.stubs import Sent, Stubs, line_to_paste

USERS = Sent("GET", "/users", {"top": "5"})


def test_what_is_declared_last_counts_first():
    stubs = Stubs()
    stubs.stub("", "", None).replies("any")
    stubs.stub("GET", "/users", None).replies("users")
    stubs.stub("GET", "users?top=5", None).replies("five")
    bodies = [
        stubs.answer(Sent("GET", path, query)) for path, query in (("/users", {"top": "5"}), ("/users", {}), ("/x", {}))
    ]
    assert [each.body for each in bodies if each] == [b"five", b"users", b"any"]


def test_replies_follow_each_other_and_the_last_one_stays():
    stubs = Stubs()
    stubs.stub("GET", "/users", None).replies("one").replies("two")
    assert [found.body for _ in range(3) if (found := stubs.answer(USERS))] == [b"one", b"two", b"two"]
    assert len(stubs.calls) == len(stubs.declared[0].calls) == 3


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        ({"a": 1}, b'{"a": 1}', "application/json"),
        ([], b"[]", "application/json"),
        ("text", b"text", "text/plain; charset=utf-8"),
        (b"\x00", b"\x00", "application/octet-stream"),
        (None, b"", None),
    ],
)
def test_a_body_has_its_type(body: Any, content: bytes, kind: str | None):
    stubs = Stubs()
    stubs.stub("GET", "/users", None).replies(body, status=201)
    found = stubs.answer(USERS)
    assert found is not None
    assert (found.status, found.body, found.headers.get("content-type")) == (201, content, kind)


def test_a_function_gets_the_request():
    stubs = Stubs()
    stubs.stub("", "", None).replies(lambda sent: {"path": sent.path})
    assert stubs.answer(USERS).body == b'{"path": "/users"}'  # type: ignore[union-attr]


def test_failures_come_before_what_follows_them():
    stubs = Stubs()
    stubs.stub("GET", "/users", None).fails(429, times=2, then=[])
    assert [found.status for _ in range(4) if (found := stubs.answer(USERS))] == [429, 429, 200, 200]
    with pytest.raises(ValueError, match="a status such as 429"):
        stubs.stub("GET", "/users", None).fails("bored")


def test_a_stub_without_a_reply_is_for_nothing():
    stubs = Stubs()
    stubs.stub("GET", "/users", None)
    assert stubs.answer(USERS) is None


@pytest.mark.parametrize(
    ("of", "sent", "line"),
    [
        ("connections", Sent("GET", "/users"), 'connections["x"].get("/users").replies({...})'),
        ("connections", Sent("OPTIONS", "/a"), 'connections["x"].request("OPTIONS", "/a").replies({...})'),
        ("triggers", Sent("POST", ""), 'triggers["x"].replies({...})'),
    ],
)
def test_the_line_to_paste(of: str, sent: Sent, line: str):
    assert line_to_paste(of, "x", sent) == line
