"""What each rule finds in the first 28 days of an installation, in which callers come to most of their networks for the
first time."""

from dataclasses import replace
from typing import Any

import pytest

from postern.journal.finding import FindingKind as Kind
from tests.security.findings.world import APP, AWAY, DAY, HOUR, NOW, World, admission, caller, rejection

RANGE = "100.64"


def young(days: int = 20, network: str = RANGE, kind: Any = "user", callers: int = 3) -> World:
    """Uses have been noted for so many days. Ada was in the office on each of them, and others are in a range."""
    world = World(since=NOW - days * DAY)
    world.used_to(days=days)
    for number in range(callers):
        colleague = caller(f"colleague-{number}", f"c-{number}", kind=kind)
        world.sees(admission(NOW - DAY, colleague, address=f"{network}.{number}.1"))
    world.found.clear()
    return world


@pytest.mark.parametrize(
    ("installation", "odd"),
    [
        ({}, []),
        ({"days": 27}, []),
        ({"days": 28}, [Kind.NEW_NETWORK]),
        ({"callers": 2}, [Kind.NEW_NETWORK]),
        ({"kind": "application"}, [Kind.NEW_NETWORK]),
        ({"network": "100.65"}, [Kind.NEW_NETWORK]),
    ],
    ids=["three-people", "day-27", "day-28", "two-people", "applications", "another-range"],
)
def test_a_range_of_several_people_is_not_new_for_a_person(installation: dict[str, Any], odd: list[Kind]):
    assert young(**installation).sees(admission(NOW, address=f"{RANGE}.200.1")) == odd


def test_it_is_new_for_an_application():
    world = young()
    world.used_to(APP, days=20)
    assert world.sees(admission(NOW, APP, address=f"{RANGE}.200.1")) == [Kind.NEW_NETWORK]


def test_a_person_counts_once_for_a_range():
    """So one stolen account does not make a range familiar to all."""
    world = young(callers=1)
    for number in range(9):
        thief = caller("colleague-0", f"again-{number}")
        world.sees(admission(NOW - HOUR + number, thief, address=f"{RANGE}.{100 + number}.1"))
    assert world.sees(admission(NOW, address=f"{RANGE}.200.1")) == [Kind.NEW_NETWORK]


@pytest.mark.parametrize(("days", "odd"), [(20, []), (28, [Kind.EXPIRED_TOKEN_USED])])
def test_nor_is_an_expired_token_odd_in_such_a_range(days: int, odd: list[Kind]):
    assert young(days=days).sees(rejection(NOW, address=f"{RANGE}.200.1")) == odd
    assert young(days=days).sees(rejection(NOW, address=AWAY)) == [Kind.EXPIRED_TOKEN_USED]


@pytest.mark.parametrize(
    ("days", "after", "kind", "odd"),
    [
        (20, 3599, "application", []),
        (20, 3600, "application", [Kind.TOKEN_FROM_TWO_NETWORKS]),
        (28, 9, "application", [Kind.TOKEN_FROM_TWO_NETWORKS]),
        (20, 9, "user", [Kind.TOKEN_FROM_TWO_NETWORKS]),
    ],
)
def test_an_application_may_leave_through_several_networks_in_its_first_hour(
    days: int, after: float, kind: Any, odd: list[Kind]
):
    world, who = World(since=NOW - days * DAY), replace(APP, kind=kind)
    world.sees(admission(NOW, who), admission(NOW + after - 1, who))
    assert world.sees(admission(NOW + after, who, address=AWAY)) == odd


def test_its_token_is_found_once_it_is_used_in_two_networks_by_turns():
    world = World(since=NOW - DAY)
    assert world.sees(admission(NOW, APP), admission(NOW + 9, APP, address=AWAY)) == []
    assert world.sees(admission(NOW + 20, APP)) == [Kind.TOKEN_FROM_TWO_NETWORKS]
