"""Cookies of the console's pages: no workflow sees them, and none sets them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.own_cookies import AUTHORIZATION, HOST_ONLY, SESSION, sets_own_cookie, without_own_cookies
from tests.table import table

OWN = [f"{HOST_ONLY}{SESSION}", f"{HOST_ONLY}{AUTHORIZATION}", f"{SESSION}-8080", f"{AUTHORIZATION}-8080"]
SECRET = "s3cret-Value_1"


def others(*fields: str) -> list[str]:
    found = without_own_cookies([(b"cookie", field.encode()) for field in fields])
    return [value.decode() for _, value in found]


@table("name", OWN)
@table(
    ("fields", "expected"),
    [
        ("{own}", []),
        ("{own}; a=1; b=2", ["a=1; b=2"]),
        ("a=1; {own}; b=2", ["a=1; b=2"]),
        ("a=1;{own};b=2", ["a=1;b=2"]),
        ("a=1; b=2; {own}", ["a=1; b=2"]),
        ("{own}; a=1; {own}", ["a=1"]),
        (" {own} ;  a=1", ["a=1"]),
        ("={own}; a=1", ["a=1"]),
        ('a="x; {own}; y"', ['a="x; y"']),
        ("a=1, {own}; b=2", ["b=2"]),
        ("{own}, b=2", []),
        ('"{own}"', []),
        ("a=1\n{own}\nb=2", ["a=1", "b=2"]),
        ("a=1\n{own}; b=2", ["a=1", "b=2"]),
    ],
)
def test_own_cookies_are_cut_out_of_each_field(name: str, fields: str, expected: list[str]):
    for own in (f"{name}={SECRET}", f"{name.upper()} = {SECRET}", name, f'{name}="{SECRET}"'):
        assert others(*fields.replace("{own}", own).split("\n")) == expected


@pytest.mark.parametrize(
    "field", ["", "a=1", "postern-theme=dark; a", "session=1;; b", 'a="1; 2"', "session-postern=1"]
)
def test_other_cookies_stay_as_they_were_sent(field: str):
    assert others(field) == ([field] if field else [])


def test_other_fields_stay_as_they_were_sent():
    sent = [(b"host", b"a"), (b"x-cookie", SESSION.encode()), (b"x-empty", b""), (b"accept", b"b")]
    assert without_own_cookies([*sent, (b"cookie", f"{OWN[0]}={SECRET}".encode())]) == sent


PAIRS = st.sampled_from([f"{name}={SECRET}" for name in OWN]) | st.text("ab=;, \t\"'\\%", max_size=6)


@given(st.lists(st.lists(PAIRS, max_size=5).map("; ".join), max_size=3))
def test_whatever_is_sent_a_workflow_sees_no_secret(fields: list[str]):
    assert not any(SECRET in field or SESSION in field for field in others(*fields))


@given(st.lists(st.text("abc123-_=", min_size=1, max_size=8), max_size=5), st.sampled_from(OWN), st.integers(0, 5))
def test_all_others_of_a_browser_come_through_in_order(pairs: list[str], name: str, place: int):
    sent = "; ".join([*pairs[:place], f"{name}={SECRET}", *pairs[place:]])
    assert others(sent) == (["; ".join(pairs)] if pairs else [])


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"x"]), st.binary(max_size=40)), max_size=4))
def test_any_bytes_are_read(headers: list[tuple[bytes, bytes]]):
    assert without_own_cookies(headers) == [each for each in headers if each[1] or each[0] != b"cookie"]


@pytest.mark.parametrize("name", OWN)
def test_a_cookie_is_known_by_what_browsers_take_for_its_name(name: str):
    for pair in (f"{name}=x", f" {name.upper()} = x", f"={name}=x", name, f"\t= {name}"):
        assert sets_own_cookie(f"{pair}; Path=/; HttpOnly".encode())


@pytest.mark.parametrize(
    "value", ["a=1", "a=1; Path=/postern-session-80", "postern-theme=dark", "", "=; postern-session"]
)
def test_other_cookies_may_be_set(value: str):
    assert not sets_own_cookie(value.encode())
