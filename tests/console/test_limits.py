"""How many sign-ins may be started."""

from hypothesis import given
from hypothesis import strategies as st

from postern.console.limits import IN_ALL, MINUTE, OF_ADDRESS, Starts


def test_an_address_may_start_ten_in_any_minute():
    starts = Starts()
    assert [starts.admit("192.0.2.1", second) for second in range(12)] == [True] * 10 + [False] * 2
    assert starts.admit("192.0.2.2", 12)
    assert [starts.admit("192.0.2.1", MINUTE + second) for second in (-0.5, 0, 0.5, 1)] == [False, True, False, True]


def test_addresses_of_version_6_count_by_their_network_of_64_bits():
    starts = Starts()
    assert all(starts.admit(f"2001:db8::{number:x}", 0) for number in range(1, 11))
    assert not starts.admit("2001:db8::ffff", 0)
    assert not starts.admit("2001:DB8:0:0:1::", 0)
    assert starts.admit("2001:db8:0:1::1", 0)


def test_sessions_count_by_themselves():
    starts = Starts()
    assert [starts.admit_one("a", 0.0) for _ in range(OF_ADDRESS + 1)] == [True] * OF_ADDRESS + [False]
    assert starts.admit_one("b", 0.0)
    assert starts.admit_one("a", MINUTE)


def test_all_addresses_together_may_start_fifty_in_any_second():
    starts = Starts()
    admitted = [starts.admit(f"192.0.2.{number}", 0) for number in range(60)]
    assert admitted == [True] * 50 + [False] * 10
    assert not starts.admit("198.51.100.1", 0.99)
    assert starts.admit("198.51.100.1", 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20))))
def test_a_flood_leaves_no_more_behind_than_was_admitted(attempts: list[tuple[int, float]]):
    """In any order of addresses: no limit is passed, and what is over is forgotten."""
    starts, now = Starts(), 0.0
    admitted: list[tuple[float, int]] = []
    for address, later in attempts:
        now += later
        if starts.admit(f"192.0.2.{address}", now):
            admitted.append((now, address))
        last = [(at, who) for at, who in admitted if at > now - MINUTE]
        assert len(starts._admitted) == len(last)
        assert sum(starts._of.values()) == len(last)
        assert len(starts._of) == len({who for _, who in last})
        assert all(count <= OF_ADDRESS for count in starts._of.values())
        assert sum(at > now - 1 for at, _ in admitted) <= IN_ALL
