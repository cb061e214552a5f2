"""The text of a signed URL is read in one way only, and its signature is of everything that it says."""

import string
from dataclasses import replace
from itertools import permutations
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from postern.security.signed_urls.url import (
    RESERVED,
    Presented,
    Terms,
    canonical,
    expiry,
    has_signature,
    presented,
    sign,
    signature,
    withheld,
)
from tests.table import table

KEY = bytes(range(32))
TERMS = Terms("orders", ("GET", "POST"), "partner-x", None, 1_893_456_000, (("customer", "Åse & Co"),))
PRINTED = sign(KEY, TERMS).query

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = TEXT.filter(lambda name: name and name not in RESERVED)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
METHODS = st.lists(st.sampled_from(["GET", "POST", "PUT"]), min_size=1, unique=True).map(tuple)
ANY_TERMS = st.builds(
    Terms,
    workflow=st.sampled_from(["orders", "a-1", "a"]),
    methods=METHODS,
    id=IDS,
    path=st.none() | st.sampled_from(["", "/x", "/x/%C3%A5"]),
    expires_at=st.none() | st.integers(0, 253_402_300_799),
    fixed=st.dictionaries(NAMES, TEXT, max_size=3).map(lambda found: tuple(found.items())),
)


def accepted(query: str | bytes, workflow: str = "orders", path: str = "") -> bool:
    """Whether a request with this query is let in by the key."""
    found = presented(query.encode() if isinstance(query, str) else query, workflow, path)
    return found is not None and signature(KEY, found.terms) == found.signature


@given(ANY_TERMS)
def test_a_printed_url_says_its_terms_and_no_others(terms: Terms):
    printed = sign(KEY, terms)
    found = presented(printed.query.encode(), terms.workflow, terms.path or "")
    assert found == Presented(terms, signature(KEY, terms))


@given(ANY_TERMS, ANY_TERMS)
def test_no_two_terms_have_the_same_bytes(one: Terms, other: Terms):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_no_text_can_be_moved_from_one_item_to_the_next(one: list[str], other: list[str]):
    """The list has the length of each text before it."""
    assume(one != other)
    first = replace(TERMS, fixed=tuple((text, "") for text in one))
    second = replace(TERMS, fixed=tuple((text, "") for text in other))
    assert canonical(first) != canonical(second)


def test_each_of_the_terms_changes_the_signature():
    others = [
        replace(TERMS, workflow="order"),
        replace(TERMS, methods=("GET",)),
        replace(TERMS, id="partner-y"),
        replace(TERMS, path=""),
        replace(TERMS, expires_at=1_893_456_001),
        replace(TERMS, expires_at=None),
        replace(TERMS, fixed=()),
        replace(TERMS, fixed=(("customer", "Åse & C"),)),
    ]
    assert len({signature(KEY, each) for each in [TERMS, *others]}) == len(others) + 1


def test_the_shape_is_the_one_that_users_of_logic_apps_know():
    printed = sign(KEY, Terms("orders", ("POST",), "partner-x", "/eu", 1_893_456_000), "")
    assert printed.path == "/triggers/orders/eu"
    beginning = "sp=%2Ftriggers%2Forders%2Frun-at%2FPOST&sv=1.0&se=2030-01-01T00%3A00%3A00Z&id=partner-x&sig="
    assert printed.query.startswith(beginning)
    assert len(printed.query) == len(beginning) + 43
    assert expiry(replace(TERMS, expires_at=None)) == "never"


def test_a_flip_of_any_bit_of_any_byte_is_refused():
    """Of the query, the path and the name of the workflow."""
    query = PRINTED.encode()
    assert accepted(query)
    for place in range(len(query)):
        for bit in range(8):
            flipped = bytearray(query)
            flipped[place] ^= 1 << bit
            assert not accepted(bytes(flipped)), (place, bit)


def test_a_part_that_is_missing_doubled_or_moved_is_refused():
    parts = PRINTED.split("&")
    for place in range(len(parts)):
        assert not accepted("&".join(parts[:place] + parts[place + 1 :]))
        assert not accepted("&".join([*parts[: place + 1], *parts[place:]]))
        assert not accepted("&".join([*parts, parts[place]]))
        assert not accepted("&".join([parts[place], *parts]))
    assert [order for order in permutations(parts) if accepted("&".join(order))] == [tuple(parts)]


@table("place", range(len(PRINTED)))
def test_no_character_may_be_written_in_another_way(place: int):
    """As an escape, or with the digits of an escape in lower case, or as itself."""
    character = PRINTED[place]
    assert not accepted(PRINTED[:place] + f"%{ord(character):02X}" + PRINTED[place + 1 :])
    assert not accepted(PRINTED[:place] + f"%{ord(character):02x}" + PRINTED[place + 1 :])
    if character == "%":
        lower = PRINTED[place : place + 3].lower()
        assert lower == PRINTED[place : place + 3] or not accepted(PRINTED[:place] + lower + PRINTED[place + 3 :])
        plain = bytes.fromhex(PRINTED[place + 1 : place + 3])
        assert not accepted(PRINTED[:place].encode() + plain + PRINTED[place + 3 :].encode())
    assert not accepted(PRINTED[:place] + "&" + PRINTED[place:])


@given(st.lists(st.tuples(NAMES, TEXT), min_size=1, max_size=3))
def test_other_parameters_may_follow(pairs: list[tuple[str, str]]):
    """Graph appends `validationToken` to the URL that it was given. They are not signed."""
    assume(all(name != "customer" for name, _ in pairs))
    assert accepted(PRINTED + "".join(f"&{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs))


@table("rest", ["&", "&&", "&=", "&a", "&a=b=c", "&%ff=1", "&SIG=1", "&%73%69%67x=1"])
def test_odd_parameters_that_follow_are_nobodys_business(rest: str):
    assert accepted(PRINTED + rest)


@pytest.mark.parametrize("name", [*RESERVED, "customer"])
def test_none_that_follows_has_the_name_of_a_signed_one_however_it_is_written(name: str):
    escaped = "".join(f"%{ord(character):02x}" for character in name)
    partly = f"%{ord(name[0]):02X}{name[1:]}"
    for written in (name, escaped, partly):
        for value in ("", "=", "=1"):
            assert not accepted(f"{PRINTED}&{written}{value}")
            assert not accepted(f"{PRINTED}&a=b&{written}{value}&c=d")
            assert not accepted(f"{written}{value}&{PRINTED}")


def test_a_fixed_name_with_a_space_cannot_be_doubled_with_a_plus():
    printed = sign(KEY, replace(TERMS, fixed=(("a b", "1"),))).query
    assert accepted(printed)
    assert not accepted(printed + "&a+b=2")
    assert not accepted(printed + "&a%20b=2")


PIECES = ["a", "%61", "+", "%20", "=", "&", "%26", "%25", "%", ";", "sig", "%73", "\xe4", "%E4", "%C3%A4", "%EF%BF%BD"]


@given(
    st.dictionaries(st.sampled_from(["a", "a b", "ä", "\ufffd"]), st.sampled_from(["", "1", "&+"]), min_size=1),
    st.lists(st.sampled_from(PIECES), max_size=9).map("".join),
)
@example({"ä": "1"}, "\xe4=2")
@example({"\ufffd": "1"}, "%E4=2")
def test_nothing_that_follows_changes_what_a_workflow_sees_of_a_fixed_parameter(fixed: dict[str, str], rest: str):
    """A workflow's query has names as text; bytes that are no UTF-8 become U+FFFD, and raw ones are read as Latin-1."""
    query = f"{sign(KEY, replace(TERMS, fixed=tuple(fixed.items()))).query}&{rest}".encode("latin-1")
    if accepted(query):
        seen = QueryParams(withheld(query))
        assert {name: seen.getlist(name) for name in fixed} == {name: [value] for name, value in fixed.items()}
        assert not set(RESERVED) & set(seen)


def test_one_url_is_for_one_workflow_and_one_path():
    for_path = sign(KEY, replace(TERMS, path="/x")).query
    assert accepted(for_path, path="/x")
    assert not accepted(for_path, path="/y")
    assert not accepted(for_path, path="/%78")
    assert not accepted(for_path, "order", "/x")
    assert accepted(PRINTED, path="/anything")


@pytest.mark.parametrize(
    "until", ["2030-01-01T00%3A00%3A00.0Z", "2030-02-30T00%3A00%3A00Z", "1893456000", "NEVER", "2030-1-1T00%3A00%3A00Z"]
)
def test_a_time_is_written_in_one_way(until: str):
    assert not accepted(PRINTED.replace("2030-01-01T00%3A00%3A00Z", until))


def test_a_long_text_is_not_read():
    assert not accepted(sign(KEY, replace(TERMS, fixed=(("a", "x" * 5000),))).query)
    assert accepted(PRINTED + "&a=" + "x" * 5000)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_without_an_error(content: bytes):
    for query in (content, PRINTED.encode() + b"&" + content, content + PRINTED.encode()):
        presented(query, "orders", "")
        assert not has_signature(withheld(query))


@given(st.text(string.ascii_letters + "%&=+", max_size=20))
def test_what_is_withheld_leaves_the_rest_as_it_was(text: str):
    query = text.encode()
    if not any(name in text for name in ("s", "i", "%")):
        assert withheld(query) == query
    assert not has_signature(withheld(query))


def test_neither_a_url_nor_what_was_read_shows_its_signature():
    sig = signature(KEY, TERMS)
    assert sig not in repr(sign(KEY, TERMS))
    assert sig not in repr(presented(PRINTED.encode(), "orders", ""))
