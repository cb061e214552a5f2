"""For whom a run may act: a closed list, and both ids of the person."""

from dataclasses import fields

from postern.access import ANYONE, Caller, Principal, StartedBy, principal_of
from postern.access.principal import BY_THE_PERSON, NOBODY, WHYS
from postern.connections.grants.reasons import REASONS
from tests.table import table

TENANT, LISA = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-000000000001"
PERSON = Caller("user", LISA, TENANT, name="Lisa")
APPLICATION = Caller("application", LISA, TENANT)
REQUEST, SAME = StartedBy.REQUEST, StartedBy.SAME_AGAIN


@table(
    ("caller", "started_by", "called", "owner", "why"),
    [
        (PERSON, REQUEST, False, f"{TENANT}/{LISA}", ""),
        (PERSON, SAME, False, f"{TENANT}/{LISA}", ""),
        (PERSON, REQUEST, True, "", "called-by-run"),
        (PERSON, SAME, True, "", "called-by-run"),
        (PERSON, StartedBy.EDITED, False, "", "resubmitted"),
        (PERSON, StartedBy.ANOTHER, False, "", "resubmitted"),
        (PERSON, StartedBy.LOST, False, "", "resubmitted"),
        (PERSON, StartedBy.UNKNOWN, False, "", NOBODY),
        (APPLICATION, REQUEST, False, "", "application"),
        (APPLICATION, REQUEST, True, "", "called-by-run"),
        (APPLICATION, SAME, False, "", "application"),
        (ANYONE, REQUEST, False, "", "anonymous"),
        (ANYONE, SAME, False, "", "anonymous"),
        (Caller("user", LISA, ""), REQUEST, False, "", NOBODY),
        (Caller("user", "", TENANT), REQUEST, False, "", NOBODY),
        (Caller("user", "", ""), REQUEST, False, "", NOBODY),
        (Caller("user", f"{LISA}/x", TENANT), REQUEST, False, "", NOBODY),
        (Caller("device", LISA, TENANT), REQUEST, False, "", NOBODY),  # type: ignore[arg-type]
        (PERSON, StartedBy.SCHEDULE, False, "", "schedule"),
        (PERSON, StartedBy.FAILURE, False, "", "on-failure"),
        (PERSON, StartedBy.FINDING, False, "", "finding"),
        (Caller("schedule"), StartedBy.SCHEDULE, False, "", "schedule"),
        (Caller("failure"), StartedBy.FAILURE, False, "", "on-failure"),
        (Caller("finding"), StartedBy.FINDING, False, "", "finding"),
        (Caller("schedule"), REQUEST, False, "", "schedule"),
    ],
)
def test_only_a_person_s_own_request_acts_for_that_person(
    caller: Caller, started_by: StartedBy, called: bool, owner: str, why: str
):
    assert principal_of(caller, started_by, called=called) == Principal(owner, why, started_by)


def test_a_new_way_of_starting_runs_acts_for_nobody_until_it_is_listed():
    assert {each for each in StartedBy if principal_of(PERSON, each, called=False).owner} == BY_THE_PERSON


@table("started_by", list(StartedBy))
@table("caller", [PERSON, APPLICATION, ANYONE])
@table("called", [False, True])
def test_a_principal_has_an_owner_or_a_reason(caller: Caller, started_by: StartedBy, called: bool):
    found = principal_of(caller, started_by, called=called)
    assert bool(found.owner) != bool(found.why)


def test_a_name_decides_nothing():
    named = {each.name: "" for each in fields(Caller) if each.name not in ("kind", "object_id", "tenant_id")}
    assert set(named) >= {"name", "client_id"}
    other = Caller("user", LISA, TENANT, client_id="other", name="Ada", guest=True)
    assert principal_of(other, REQUEST, called=False) == principal_of(PERSON, REQUEST, called=False)


def test_each_reason_is_in_the_table_of_reasons():
    found = {
        principal_of(caller, started_by, called=called).why
        for caller in (PERSON, APPLICATION, ANYONE)
        for started_by in StartedBy
        for called in (False, True)
    }
    assert found - {""} == WHYS
    assert set(REASONS) >= WHYS
