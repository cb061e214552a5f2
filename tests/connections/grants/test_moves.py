"""What is done with a grant follows from its row, and from nothing else."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.grants.moves import (
    ABANDONED_SECONDS,
    DAY,
    LATELY,
    Move,
    due_at,
    good_until,
    may_answer,
    next_move,
)
from postern.journal.grants import Event, Grant, State
from tests.table import table

NOW = 1_700_000_000.0
C1, C2 = '{"access_token":{"acrs":{"value":"c1"}}}', '{"access_token":{"acrs":{"value":"c2"}}}'
GRANT = Grant(
    "tickets",
    "tenant/lisa",
    "1",
    "Lisa",
    "",
    ("read",),
    "",
    "sealed",
    "v1",
    3,
    "tenant/lisa",
    NOW - 9 * DAY,
    access_expires_at=NOW + 600.0,
    history=(Event(NOW - 9 * DAY, "connected"), Event(NOW - 3000.0, "refreshed"), Event(NOW, "other")),
)
OLD = replace(GRANT, access_expires_at=NOW + 60.0)
TAKEN = replace(OLD, attempt="a", holder="node-2")


@table(
    ("grant", "more", "move"),
    [
        (None, {}, Move.MISSING),
        (replace(GRANT, state=State.BROKEN), {}, Move.BROKEN),
        (GRANT, {}, Move.USE),
        (replace(GRANT, access_expires_at=None), {}, Move.USE),
        (replace(GRANT, attempt="a", holder="node-2"), {}, Move.USE),
        (GRANT, {"stale": 2}, Move.USE),
        (GRANT, {"stale": 3}, Move.TAKE),
        (replace(GRANT, access_expires_at=None), {"stale": 3}, Move.TAKE),
        (replace(OLD, access_expires_at=NOW + 60.001), {}, Move.USE),
        (OLD, {}, Move.TAKE),
        (TAKEN, {}, Move.WAIT),
        (TAKEN, {"unchanged": ABANDONED_SECONDS - 0.001}, Move.WAIT),
        (TAKEN, {"unchanged": ABANDONED_SECONDS}, Move.TAKE),
        (TAKEN, {"holder_gone": True}, Move.TAKE),
        (replace(TAKEN, holder="node-1"), {}, Move.TAKE),
        (replace(TAKEN, access_expires_at=NOW + 600.0), {"stale": 3}, Move.WAIT),
    ],
    ids=str,
)
def test_the_next_move(grant: Grant | None, more: dict[str, float], move: Move):
    assert next_move(grant, NOW, node="node-1", **more) is move  # type: ignore[arg-type]


def renewed(*seconds_ago: float) -> tuple[Event, ...]:
    connected = Event(NOW - DAY, "connected")
    return (connected, *(Event(NOW - seconds, "refreshed") for seconds in sorted(seconds_ago, reverse=True)))


@table(
    ("history", "claims", "rejected", "may"),
    [
        (renewed(100.0), "", True, True),
        (renewed(1.0), "", True, True),  # it was issued without them
        (renewed(1.0), C2, True, True),
        (renewed(1.0), C1, True, False),
        (renewed(29.9), C1, True, False),
        (renewed(30.0), C1, True, True),
        (renewed(-1.0), C1, True, False),
        (renewed(-400.0), C1, True, True),  # the clock was ahead
        (renewed(1.0, 2.0), C2, True, True),
        (renewed(1.0, 2.0, 3.0), C2, True, False),
        (renewed(1.0, 2.0, 3.0), C2, False, False),
        (renewed(1.0, 2.0, 30.0), C2, True, True),
        ((Event(NOW, "connected"), Event(NOW, "connected"), Event(NOW, "connected")), "", True, True),
    ],
    ids=str,
)
def test_a_challenge_leads_to_a_refresh(history: tuple[Event, ...], claims: str, rejected: bool, may: bool):
    """C1 is the challenge, and `claims` are those with which the token of the row was requested."""
    assert may_answer(replace(GRANT, history=history, claims=claims), C1, NOW, rejected=rejected) is may


@pytest.mark.parametrize(
    ("life", "early"), [(3600.0, 60.0), (300.0, 60.0), (60.0, 12.0), (1.0, 0.2), (0.0, 0.0), (-5.0, 0.0)]
)
def test_a_token_is_good_until_a_minute_before_its_end_or_four_fifths_of_a_short_life(life: float, early: float):
    issued = NOW - 100.0
    grant = replace(GRANT, access_expires_at=issued + life, history=(Event(issued, "refreshed"),))
    assert good_until(grant) == pytest.approx(issued + life - early)


@given(st.floats(0.0, 1e7), st.floats(0.0, 1e7))
def test_it_is_never_good_after_its_end(life: float, since: float):
    grant = replace(GRANT, access_expires_at=NOW + life, history=(Event(NOW - since, "connected"),))
    assert good_until(grant) <= NOW + life


@pytest.mark.parametrize(
    ("changed", "due"),
    [
        ({"used_at": NOW - 5.0}, NOW - 3000.0 + 3600.0 * 0.8),
        ({"used_at": NOW - LATELY}, NOW - 3000.0 + DAY),
        ({"used_at": None}, NOW - 3000.0 + DAY),
        ({"used_at": NOW, "access_expires_at": None}, NOW - 3000.0 + DAY),
        ({"used_at": NOW, "history": ()}, NOW - 9 * DAY + (9 * DAY + 600.0) * 0.8),
    ],
)
def test_the_background_renews_at_four_fifths_of_life_or_once_a_day(changed: dict[str, object], due: float):
    assert due_at(replace(GRANT, **changed), NOW) == pytest.approx(due)  # type: ignore[arg-type]


def test_a_clock_that_was_ahead_puts_no_renewal_off():
    ahead = replace(GRANT, history=(Event(NOW + 400 * DAY, "refreshed"),), access_expires_at=NOW + 401 * DAY)
    assert due_at(ahead, NOW) <= NOW
    assert due_at(replace(ahead, history=(Event(NOW + 200.0, "refreshed"),)), NOW) > NOW


def test_a_token_without_an_end_is_good_for_ever():
    assert good_until(replace(GRANT, access_expires_at=None)) == math.inf
