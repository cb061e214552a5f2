"""What callers share is divided so that none takes it all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.journal.shares import ANONYMOUS, excess, fair_level, has_room, holder_of
from tests.table import table

pytestmark = pytest.mark.slow

AMOUNTS = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), st.integers(0, 1000), max_size=20)


@table(
    ("kind", "address", "holder"),
    [
        ("user", "192.0.2.1", ("tenant", "object")),
        ("app", "192.0.2.1", ("tenant", "object")),
        (ANONYMOUS, "192.0.2.1", (ANONYMOUS, "192.0.2.1")),
        (ANONYMOUS, "2001:db8:1:2:3::4", (ANONYMOUS, "2001:db8:1:2::/64")),
        (ANONYMOUS, "2001:db8:1:2:ffff::", (ANONYMOUS, "2001:db8:1:2::/64")),
        (ANONYMOUS, "fe80::1%eth0", (ANONYMOUS, "fe80::/64")),
        (ANONYMOUS, "any: text" * 20, (ANONYMOUS, ("any: text" * 20)[:45])),
        (ANONYMOUS, "", (ANONYMOUS, "")),
    ],
)
def test_a_caller_is_who_the_token_says_or_the_network_of_the_address(kind, address, holder):
    assert holder_of(kind, "tenant", "object", address) == holder


@table(
    ("held", "anonymous", "queued", "room"),
    [
        (0, None, 0, True),
        (0, None, 99, True),
        (0, None, 100, False),  # it is full
        (50, None, 50, True),
        (51, None, 51, False),  # one caller alone
        (33, None, 66, True),
        (34, None, 68, False),  # each of two
        (25, 25, 25, True),
        (26, 26, 26, False),  # one address
        (0, 49, 49, True),  # another address
        (0, 50, 50, False),  # all addresses
        (0, 0, 99, True),
    ],
)
def test_a_caller_is_admitted_who_holds_no_more_than_is_free(held, anonymous, queued, room):
    assert has_room(held, anonymous, queued, 100) is room


@given(st.integers(0, 1000), st.data())
def test_up_to_a_quarter_everybody_is_admitted(most, data):
    queued = data.draw(st.integers(0, most // 4))
    held = data.draw(st.integers(0, queued))
    if most >= 4:
        assert has_room(held, None, queued, most)
        assert has_room(held, data.draw(st.integers(held, queued)), queued, most)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=400))
def test_whatever_others_send_a_caller_with_a_token_who_holds_nothing_is_admitted(runs):
    """Anonymous callers, who may have any number of addresses, and five with tokens."""
    most, held = 100, dict.fromkeys([(kind, who) for kind in (True, False) for who in range(6)], 0)
    for anonymous, who in runs:
        together = sum(count for (kind, _), count in held.items() if kind)
        if has_room(held[anonymous, who], together if anonymous else None, sum(held.values()), most):
            held[anonymous, who] += 1
    assert sum(count for (kind, _), count in held.items() if kind) <= most // 2
    assert has_room(0, None, sum(held.values()), most)


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(0, 5000))
def test_amounts_cut_to_their_fair_level_fit_and_no_more_is_cut_than_needed(amounts, most):
    level = fair_level(amounts, most)
    assert sum(min(amount, level) for amount in amounts) <= most
    if any(amount > level for amount in amounts):
        assert sum(min(amount, level + 1) for amount in amounts) > most


@given(AMOUNTS, st.integers(0, 5000))
def test_what_is_given_back_keeps_every_share_and_takes_nothing_from_who_has_little(held, most):
    given_back = excess(held, most)
    left = {who: amount - given_back.get(who, 0) for who, amount in held.items()}
    assert all(0 < given_back[who] <= held[who] for who in given_back)
    assert sum(left.values()) <= most
    assert max(left.values(), default=0) <= most // 4
    assert all(sum(left[who] for who in left if who[0] == workflow) <= most // 2 for workflow in "abc")
    few = most // 4 // max(len(held), 1)
    assert all(held[who] > few for who in given_back)


def test_one_who_fills_the_storage_takes_nothing_from_others():
    held = {("a", "hog"): 900, ("a", "other"): 10, ("b", "third"): 200}
    assert excess(held, 1000) == {("a", "hog"): 650}


def test_many_addresses_at_some_workflows_take_nothing_from_another():
    held = {(name, address): 10 for name in ("a", "b", "c") for address in range(1000)}
    assert ("quiet", 0) not in excess(held | {("quiet", 0): 200}, 1000)
