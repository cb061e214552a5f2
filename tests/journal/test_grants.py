"""The table of grants: each write compares what it read before, happens once, and may be repeated."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, update

from postern.journal.grants import (
    HISTORY,
    LONGEST,
    LONGEST_TEXT,
    MOST_OF_OWNER,
    SHARED,
    Event,
    Renewed,
    State,
    break_,
    connect,
    disconnect,
    entry_of,
    find,
    grant_name,
    note_use,
    of_connection,
    of_owner,
    release,
    renew,
    take,
)
from postern.journal.journal import Journal
from postern.journal.reading.grant_counts import Counted, count_grants
from postern.journal.schema import grants
from tests.journal.grant_rows import ADA, LISA, NOW, grant, stored
from tests.table import table

pytestmark = pytest.mark.slow

T = TypeVar("T")

CONNECTED = Event(NOW, "connected", LISA)
NEW = Renewed("sealed-2", "v2", NOW + 7200, NOW + 9e6, ("repo", "user"))


def done(engine: Engine, *operations: Callable[[Connection], T]) -> list[T]:
    """What the operations return, each in a transaction of its own."""
    results = []
    for operation in operations:
        with engine.begin() as connection:
            results.append(operation(connection))
    return results


def empty(engine: Engine) -> None:
    """For the next row of a table: making PostgreSQL's tables for each takes long."""
    with engine.begin() as connection:
        connection.execute(grants.delete())


def connecting(**others: Any) -> Callable[[Connection], bool]:
    return partial(connect, grant=grant(**others))


def taking(generation: int = 1, before: str = "", attempt: str = "a1", owner: str = LISA) -> Callable[..., bool]:
    return partial(
        take, name="tickets", owner=owner, generation=generation, before=before, attempt=attempt, holder="node-1"
    )


def renewing(
    generation: int = 1, attempt: str = "a1", renewed: Renewed = NEW, owner: str = LISA
) -> Callable[..., bool]:
    return partial(
        renew, name="tickets", owner=owner, generation=generation, attempt=attempt, renewed=renewed, now=NOW + 9
    )


def breaking(
    generation: int = 1, attempt: str = "a1", reason: str = "revoked", claims: str = ""
) -> Callable[..., bool]:
    return partial(
        break_,
        name="tickets",
        owner=LISA,
        generation=generation,
        attempt=attempt,
        reason=reason,
        claims=claims,
        now=NOW + 9,
    )


def releasing(generation: int = 1, attempt: str = "a1") -> Callable[[Connection], None]:
    return partial(release, name="tickets", owner=LISA, generation=generation, attempt=attempt)


def test_a_grant_is_found_as_it_was_stored_and_only_by_its_connection_and_owner(engine: Engine):
    made = grant(reason="fewer-scopes", refresh_expires_at=NOW + 9e6, tenant="t", instance_url="https://x.example")
    assert done(engine, partial(connect, grant=made)) == [True]
    assert stored(engine) == replace(made, history=(replace(CONNECTED, reason="fewer-scopes"),))
    others = [("tickets", ADA), ("tickets", SHARED), ("other", LISA), ("tickets' OR 1=1 --", LISA)]
    assert done(engine, *(partial(find, name=name, owner=owner) for name, owner in others)) == [None] * 4


def test_the_names_of_entries_and_grants():
    names = {"connections.tickets": "tickets", "triggers.pay": "triggers.pay", "connections.a-b": "a-b"}
    assert {entry: grant_name(entry) for entry in names} == names
    assert [entry_of(name) for name in names.values()] == list(names)


CASES_CONNECT: list[tuple[dict[str, Any], bool, int, str]] = [
    ({}, True, 1, "sealed-1"),  # the same consent: an acknowledgement was lost
    ({"wrote": "consent-2", "connected_at": NOW + 5, "sealed": "sealed-2"}, True, 2, "sealed-2"),
    (
        {"wrote": "consent-2", "connected_at": NOW + 5, "account": "4712", "sealed": "sealed-2"},
        False,
        1,
        "sealed-1",
    ),
    ({"wrote": "consent-2", "connected_at": NOW + 5, "account": "", "sealed": "sealed-2"}, False, 1, "sealed-1"),
    ({"wrote": "consent-2", "connected_at": NOW + 5, "tenant": "t2", "sealed": "sealed-2"}, False, 1, "sealed-1"),
]


def test_a_consent_is_stored_once_and_for_the_same_account_only(engine: Engine):
    for again, stores, generation, sealed in CASES_CONNECT:
        empty(engine)
        done(engine, connecting())
        assert done(engine, connecting(**again), connecting(**again)) == [stores, stores]
        found = stored(engine)
        assert (found.generation, found.sealed) == (generation, sealed)
        assert len(found.history) == generation


def test_a_consent_that_is_repeated_after_a_refresh_does_not_put_the_old_tokens_back(engine: Engine):
    done(engine, connecting(), taking(), renewing())
    assert done(engine, connecting()) == [True]
    assert (stored(engine).generation, stored(engine).sealed) == (2, "sealed-2")


def test_a_new_consent_mends_a_broken_grant_and_ends_an_attempt_under_way(engine: Engine):
    done(engine, connecting(), taking(), breaking(claims='{"access_token":{}}'))
    again = {"wrote": "consent-2", "connected_at": NOW + 60}
    assert done(engine, connecting(**again)) == [True]
    found = stored(engine)
    assert (found.state, found.reason, found.claims, found.attempt) == (State.CONNECTED, "", "", "")
    assert [event.what for event in found.history] == ["connected", "broken", "connected"]
    done(engine, taking(generation=2))
    again = {"wrote": "consent-3", "connected_at": NOW + 90}
    assert done(engine, connecting(**again), renewing(generation=2), breaking(generation=2)) == [True, False, False]
    assert (stored(engine).generation, stored(engine).wrote) == (3, "consent-3")


CASES_TAKE: list[tuple[list[Callable[..., Any]], Callable[..., bool], bool, Any]] = [
    ([], taking(), True, "a1"),
    ([], taking(generation=2), False, ""),
    ([], taking(generation=0), False, ""),
    ([], taking(before="a0"), False, ""),
    ([], taking(owner=ADA), False, ""),
    ([taking(attempt="a0")], taking(), False, "a0"),
    ([taking(attempt="a0")], taking(before="a0"), True, "a1"),
    ([taking(attempt="a0")], taking(before="a9"), False, "a0"),
    ([taking(), renewing()], taking(), False, ""),
    ([taking(), renewing()], taking(generation=2, attempt="a2"), True, "a2"),
    ([taking(), breaking()], taking(), False, ""),
    ([taking(), releasing()], taking(attempt="a2"), True, "a2"),
    ([taking(), releasing(attempt="a9")], taking(attempt="a2"), False, "a1"),
    ([taking(), releasing(generation=2)], taking(attempt="a2"), False, "a1"),
]


def test_a_grant_is_taken_if_generation_and_former_attempt_are_as_read_also_if_repeated(engine: Engine):
    for before, operation, result, attempt in CASES_TAKE:
        empty(engine)
        done(engine, connecting(), *before)
        assert done(engine, operation, operation) == [result, result]
        assert (stored(engine).attempt, stored(engine).holder) == (attempt, "node-1" if attempt else "")


CASES_RENEW: list[tuple[list[Callable[..., Any]], Callable[..., bool], bool, Any]] = [
    ([taking()], renewing(), True, 2),
    ([taking()], renewing(attempt="a2"), False, 1),
    ([taking()], renewing(generation=2), False, 1),
    ([taking()], renewing(owner=ADA), False, 1),
    ([], renewing(), False, 1),
    ([], renewing(attempt=""), False, 1),
    ([], renewing(generation=0, attempt="consent-1"), True, 1),  # what this row's generation was written by
    ([taking(), taking(before="a1", attempt="a2")], renewing(), False, 1),
    ([taking(), taking(before="a1", attempt="a2")], renewing(attempt="a2"), True, 2),
    ([taking(), renewing(), taking(generation=2, attempt="a2")], renewing(), True, 2),
    ([taking(), renewing(), taking(2, "", "a2"), renewing(2, "a2")], renewing(), False, 3),
    ([taking(), breaking()], renewing(), False, 1),
    ([taking(), releasing()], renewing(), False, 1),
]


def test_new_tokens_are_written_if_generation_and_attempt_are_ours_also_if_repeated(engine: Engine):
    for before, operation, result, generation in CASES_RENEW:
        empty(engine)
        done(engine, connecting(), *before)
        assert done(engine, operation, operation) == [result, result]
        found = stored(engine)
        assert found.generation == generation
        assert [event.what for event in found.history].count("refreshed") == generation - 1


def test_a_refresh_replaces_the_tokens_and_keeps_what_the_provider_does_not_repeat(engine: Engine):
    made = grant(instance_url="https://eu.example", reason="fewer-scopes")
    done(engine, partial(connect, grant=made), taking(), renewing())
    assert stored(engine) == replace(
        made,
        sealed=NEW.sealed,
        key_version=NEW.key_version,
        access_expires_at=NEW.access_expires_at,
        refresh_expires_at=NEW.refresh_expires_at,
        scopes=NEW.scopes,
        generation=2,
        wrote="a1",
        history=(replace(CONNECTED, reason="fewer-scopes"), Event(NOW + 9, "refreshed")),
    )
    done(engine, taking(2, "", "a2"), renewing(2, "a2", replace(NEW, instance_url="https://us.example")))
    assert stored(engine).instance_url == "https://us.example"


CASES_BREAK: list[tuple[list[Callable[..., Any]], Callable[..., bool], bool, Any]] = [
    ([taking()], breaking(), True, "revoked"),
    ([], breaking(attempt=""), True, "revoked"),
    ([taking()], breaking(attempt=""), False, ""),
    ([taking()], breaking(attempt="a2"), False, ""),
    ([taking()], breaking(generation=2), False, ""),
    ([taking(), renewing()], breaking(), False, ""),
    ([taking(), breaking(reason="unused")], breaking(), True, "unused"),
]


def test_a_grant_breaks_if_generation_and_attempt_are_still_these_also_if_repeated(engine: Engine):
    for before, operation, result, reason in CASES_BREAK:
        empty(engine)
        done(engine, connecting(), *before)
        assert done(engine, operation, operation) == [result, result]
        found = stored(engine)
        assert (found.reason, found.state) == (reason, State.BROKEN if reason else State.CONNECTED)
        assert [event.reason for event in found.history if event.what == "broken"] == ([reason] if reason else [])


def test_a_challenge_is_kept_whole_or_not_at_all(engine: Engine):
    done(engine, connecting(), breaking(attempt="", claims="x" * LONGEST["claims"]))
    assert stored(engine).claims == "x" * LONGEST["claims"]
    done(engine, partial(disconnect, name="tickets", owner=LISA), connecting())
    done(engine, breaking(attempt="", claims="x" * (LONGEST["claims"] + 1)))
    assert (stored(engine).claims, stored(engine).state) == ("", State.BROKEN)


def test_a_disconnected_grant_is_gone_and_takes_no_late_write(engine: Engine):
    done(engine, connecting(), connecting(owner=ADA), taking())
    ended = partial(disconnect, name="tickets", owner=LISA)
    last = stored(engine)
    assert done(engine, ended, ended) == [last, None]
    assert done(engine, renewing(), breaking(), taking()) == [False] * 3
    assert done(engine, partial(of_owner, owner=LISA)) == [[]]
    assert stored(engine, owner=ADA).attempt == ""


def test_a_state_that_this_release_does_not_know_is_broken_for_reads_and_counts(engine: Engine):
    done(engine, connecting())
    with engine.begin() as connection:
        connection.execute(update(grants).values(state="Suspended"))
        assert count_grants(connection, NOW, soon=60.0, without_refresh="") == {"tickets": Counted(broken=1)}
    assert stored(engine).state is State.BROKEN


def test_use_is_noted_forward_only(engine: Engine):
    done(engine, connecting(), *(partial(note_use, name="tickets", owner=LISA, now=NOW + late) for late in (9, 5)))
    assert stored(engine).used_at == NOW + 9


def test_a_history_has_the_last_events_only(engine: Engine):
    done(engine, connecting())
    for generation in range(1, HISTORY + 5):
        attempt = f"a{generation}"
        done(engine, taking(generation, "", attempt), renewing(generation, attempt))
    assert [event.what for event in stored(engine).history] == ["refreshed"] * HISTORY
    again = {"wrote": "consent-2", "connected_at": NOW + 60}
    done(engine, connecting(**again))
    assert [event.what for event in stored(engine).history] == [*["refreshed"] * (HISTORY - 1), "connected"]


def test_lists_are_of_one_owner_or_one_connection_and_have_an_end(engine: Engine):
    owners = [SHARED, ADA, LISA]
    done(engine, *(connecting(name=name, owner=owner) for name in ("b", "a") for owner in owners))
    with engine.begin() as connection:
        for number in range(MOST_OF_OWNER + 1):
            connect(connection, grant(f"c{number:03}", "t/eve"))
    [own, many] = done(engine, partial(of_owner, owner=LISA), partial(of_owner, owner="t/eve"))
    assert [(each.connection, each.owner) for each in own] == [("a", LISA), ("b", LISA)]
    assert len(many) == MOST_OF_OWNER
    [first, second] = done(
        engine, partial(of_connection, name="a", limit=2), partial(of_connection, name="a", limit=2, after=ADA)
    )
    assert [[each.owner for each in page] for page in (first, second)] == [[SHARED, ADA], [LISA]]
    assert done(engine, partial(of_connection, name="a", limit=2, after=""))[0][0].owner == SHARED


@table("column", ["connection", "owner", "account", "tenant", "instance_url", "sealed", "key_version"])
@table("text", ["x" * (LONGEST["sealed"] + 1), "a\0b", "\ud800"])
def test_what_cannot_be_stored_is_rejected_without_repeating_it(column: str, text: str):
    with pytest.raises(ValueError, match=f"the {column} of a grant is (too long|not text)") as raised:
        grant(**{column: text})
    assert text[:50] not in str(raised.value)


def test_scopes_are_bounded_together_and_a_name_for_showing_is_cut():
    with pytest.raises(ValueError, match="the scopes of a grant is too long"):
        replace(NEW, scopes=("x" * 1000,) * 20)
    assert len(grant(account_name="é" * 1000).account_name) == LONGEST_TEXT
    assert grant(account_name="Lisa\n\0").account_name == "Lisa\\x0a\\x00"


def test_no_repr_has_what_is_sealed():
    for each in (grant(sealed="SEALED"), replace(NEW, sealed="SEALED")):
        assert "SEALED" not in repr(each)


@pytest.mark.parametrize(
    ("before", "operations"),
    [
        ([], [taking(attempt=attempt) for attempt in "abcd"]),
        ([taking(attempt="a0")], [taking(before="a0", attempt=attempt) for attempt in "abcd"]),
        ([taking()], [renewing(), breaking(), releasing(), taking(before="a1", attempt="a2")]),
    ],
)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.process
def test_of_several_processes_that_write_at_once_one_succeeds(
    engine: Engine, before: list[Callable[..., Any]], operations: list[Callable[..., Any]]
):
    """The others wait for its transaction, and see then that they came too late."""
    done(engine, connecting(), *before)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda operation: done(engine, operation)[0], operations))
    released = sum(outcome is None for outcome in outcomes)
    assert outcomes.count(True) <= 1
    assert outcomes.count(True) + released >= 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.process
def test_two_consents_of_one_person_at_once_are_two_generations_and_of_two_accounts_one_is_stored(engine: Engine):
    same = [connecting(wrote=f"c{number}", connected_at=NOW + number) for number in range(4)]
    other = [connecting(name="b", wrote=f"c{number}", account=str(number)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda operation: done(engine, operation)[0], same)) == [True] * 4
        assert sorted(pool.map(lambda operation: done(engine, operation)[0], other)) == [False] * 3 + [True]
    assert stored(engine).generation == 4


@pytest.mark.anyio
@pytest.mark.process
async def test_all_of_it_goes_through_the_journal(database_url: str):
    """Whose writer is another process: operations and their results are plain values."""
    journal = Journal(database_url)
    await journal.open()
    try:
        for operation in (connecting(), taking(), renewing(), taking(2), breaking(2)):
            assert [await journal.write(operation), await journal.write(operation)] == [True, True]
        await journal.write(partial(note_use, name="tickets", owner=LISA, now=NOW))
        found = await journal.read(partial(find, name="tickets", owner=LISA))
        assert found is not None
        assert (found.state, found.generation, found.sealed, found.used_at) == (State.BROKEN, 2, "sealed-2", NOW)
        assert await journal.write(partial(disconnect, name="tickets", owner=LISA))
        assert await journal.read(partial(of_connection, name="tickets", limit=9)) == []
    finally:
        await journal.aclose()
