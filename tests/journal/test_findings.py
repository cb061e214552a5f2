"""The table of findings: one of each subject, kind and day, from all server processes, and one alert of each."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from postern.access import Caller
from postern.ids import id_at
from postern.journal.consequences import is_consequence
from postern.journal.finding import MOST_NOTED, Evidence, Finding, FindingKind, FindingState, Sighting, Who
from postern.journal.findings import (
    KEPT_DAYS,
    claim_alert,
    count_new,
    find,
    mark,
    record,
    to_alert,
    trim,
)
from postern.journal.run import actor
from postern.journal.schema import findings, runs
from tests.journal.engines import add, run_row

pytestmark = pytest.mark.slow

NOW = 1_700_000_000.0
DAY = 86400.0
ADA = Who("user", "ada", "tenant", "client", "Ada", "token")
OPERATOR = actor(Caller("user", "lisa", "tenant", name="Lisa"))


def sighting(number: int = 1, at: float = NOW, subject: str = "tenant/ada", count: int = 1) -> Sighting:
    evidence = Evidence(runs=(f"run-{number}",), addresses=("192.0.2.1",))
    made = id_at(at + number / 1000)
    kind = FindingKind.NEW_NETWORK
    return Sighting(made, kind, subject, at, at + 1, count, ADA, "192.0.2.1", "hello", evidence)


def seen(engine: Engine, *sightings: Sighting, writer: str = "one", number: int = 1) -> list[Finding]:
    with engine.begin() as connection:
        return record(connection, writer, number, NOW, sightings)


def found(engine: Engine, finding_id: str) -> Finding:
    with engine.begin() as connection:
        finding = find(connection, finding_id)
    assert finding is not None
    return finding


def marked(engine: Engine, finding_id: str, state: FindingState, by: str = OPERATOR) -> Finding | None:
    with engine.begin() as connection:
        return mark(connection, finding_id, state, by, NOW + 5)


def test_a_finding_is_new_to_the_first_that_sees_it(engine: Engine):
    [new] = seen(engine, sighting())
    assert new == found(engine, sighting().id)
    assert (new.kind, new.state, new.day, new.who, new.count) == ("new-network", "new", "2023-11-14", ADA, 1)
    assert seen(engine, sighting(2), writer="two") == []


def test_what_is_seen_again_on_its_day_is_added(engine: Engine):
    seen(engine, sighting())
    seen(engine, replace(sighting(2, NOW - 100, count=4), last_at=NOW + 7), writer="two")
    finding = found(engine, sighting().id)
    assert (finding.first_at, finding.last_at, finding.count) == (NOW - 100, NOW + 7, 5)
    assert finding.evidence == Evidence(runs=("run-1", "run-2"), addresses=("192.0.2.1",))


def test_another_day_subject_or_kind_is_another_finding(engine: Engine):
    others = [sighting(2, NOW + DAY), sighting(3, subject="tenant/lisa")]
    others.append(replace(sighting(4), kind=FindingKind.DORMANT_CALLER))
    assert len(seen(engine, sighting(), *others)) == 4


def test_a_batch_that_is_repeated_counts_once_and_says_the_same(engine: Engine):
    first = seen(engine, sighting())
    assert seen(engine, sighting()) == first
    assert found(engine, sighting().id).count == 1


def test_the_evidence_has_a_limit(engine: Engine):
    seen(engine, sighting())
    for number in range(2, 2 * MOST_NOTED):
        seen(engine, sighting(number), number=number)
    finding = found(engine, sighting().id)
    assert finding.evidence.runs == tuple(f"run-{number}" for number in range(1, MOST_NOTED + 1))
    assert finding.count == 2 * MOST_NOTED - 1


def test_an_operator_acknowledges_it_once_and_may_revoke_afterwards(engine: Engine):
    seen(engine, sighting())
    finding = marked(engine, sighting().id, FindingState.ACKNOWLEDGED)
    assert finding is not None
    assert finding.state_by is not None
    assert (finding.state, finding.state_at, finding.state_by["name"]) == ("acknowledged", NOW + 5, "Lisa")
    assert marked(engine, sighting().id, FindingState.ACKNOWLEDGED, by="{}") == finding
    revoked = marked(engine, sighting().id, FindingState.REVOKED)
    assert revoked is not None
    assert revoked.state == "revoked"
    assert marked(engine, sighting().id, FindingState.ACKNOWLEDGED) == revoked
    assert marked(engine, "unknown", FindingState.ACKNOWLEDGED) is None


def test_it_stays_acknowledged_when_it_is_seen_again(engine: Engine):
    seen(engine, sighting())
    marked(engine, sighting().id, FindingState.ACKNOWLEDGED)
    seen(engine, sighting(2), number=2)
    assert (found(engine, sighting().id).state, found(engine, sighting().id).count) == ("acknowledged", 2)


def test_one_server_process_takes_the_alert(engine: Engine):
    seen(engine, sighting())
    with engine.begin() as connection:
        assert [each.id for each in to_alert(connection, NOW, 9)] == [sighting().id]
        assert claim_alert(connection, sighting().id, NOW + 1)
        assert claim_alert(connection, sighting().id, NOW + 1)  # the same claim, repeated
        assert not claim_alert(connection, sighting().id, NOW + 2)
        assert to_alert(connection, NOW, 9) == []


def test_old_and_acknowledged_findings_start_no_alert(engine: Engine):
    seen(engine, sighting(), sighting(2, subject="tenant/lisa"))
    marked(engine, sighting(2).id, FindingState.ACKNOWLEDGED)
    with engine.begin() as connection:
        assert to_alert(connection, NOW + 1, 9) == []
        assert [each.id for each in to_alert(connection, NOW, 9)] == [sighting().id]
        assert count_new(connection) == 1


def test_a_run_that_an_alert_called_is_known_by_its_parents(engine: Engine):
    add(engine, runs, run_row("alert", caller_kind="finding"))
    called = [("child", "alert"), ("grandchild", "child"), ("other", "gone")]
    add(engine, runs, *(run_row(run_id, parent_run_id=parent) for run_id, parent in called))
    with engine.begin() as connection:
        assert is_consequence(connection, ["other", "grandchild"])
        assert not is_consequence(connection, ["other", "unknown"])


def test_old_findings_and_too_many_are_deleted_the_oldest_first(engine: Engine):
    seen(engine, *(sighting(number, NOW + number * DAY) for number in range(6)))
    with engine.begin() as connection:
        assert trim(connection, NOW, most_rows=4, limit=1) == 1
        assert trim(connection, NOW, most_rows=4, limit=1) == 1
        assert trim(connection, NOW, most_rows=4, limit=1) == 0
        assert trim(connection, NOW + 1 + (KEPT_DAYS + 3) * DAY + 1, limit=9) == 2
        assert count_new(connection) == 2


def test_of_too_many_findings_those_about_addresses_go_first(engine: Engine):
    """Anyone can cause them, without a token: they do not push out what a caller did."""
    address = "address/192.0.2.1"
    seen(engine, *(sighting(number, NOW + number * DAY, address if number > 2 else "t/ada") for number in range(6)))
    with engine.begin() as connection:
        for left in (4, 3, 2):
            assert trim(connection, NOW, most_rows=left, limit=9) == (2 if left == 4 else 1)
        assert set(connection.scalars(select(findings.c.subject))) == {"t/ada"}
