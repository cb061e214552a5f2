"""What each rule finds odd, and what it does not."""

from dataclasses import replace
from typing import Any

import pytest

from postern.access import ANYONE, Caller
from postern.journal.finding import MOST_NOTED
from postern.journal.finding import FindingKind as Kind
from postern.security.findings.detector import MANY_SUBJECTS, MOST_OF_KIND
from postern.security.findings.known import MOST_NETWORKS
from postern.security.findings.refusal_rules import BURSTS, EXPIRED_USES, FAILURES, WORKFLOWS
from postern.security.findings.rules import SUCCESSES
from tests.security.findings.world import (
    ADA,
    APP,
    AWAY,
    DAY,
    HOME,
    HOUR,
    MINUTE,
    NOW,
    OFFICE,
    TENANT,
    World,
    admission,
    caller,
    rejection,
)

pytestmark = pytest.mark.slow

# One token from two networks


def test_one_token_from_two_networks_is_odd_at_the_second_one():
    world = World()
    assert world.sees(admission(NOW)) == []
    assert world.sees(admission(NOW + 5, address="203.0.113.99")) == []  # the same network
    assert world.sees(admission(NOW + 9, address=AWAY)) == [Kind.TOKEN_FROM_TWO_NETWORKS]
    [found] = world.found
    assert found.subject == f"{TENANT}/ada"
    assert found.who.token_id == "token"
    assert found.evidence.networks == ("203.0.113.0/24", "192.0.2.0/24")
    assert found.evidence.addresses == ("203.0.113.5", "192.0.2.9")
    assert found.evidence.runs == (admission(NOW).first_request_id, admission(NOW + 9).first_request_id)


@pytest.mark.parametrize("address", ["::ffff:203.0.113.77", "203.0.113.77", "", "not-an-address"])
def test_an_address_that_is_written_in_another_way_or_none_is_no_second_network(address: str):
    world = World()
    assert world.sees(admission(NOW), admission(NOW + 1, address=address)) == []


def test_two_tokens_are_not_one_and_a_token_without_an_id_is_none():
    world = World()
    world.sees(admission(NOW))
    assert world.sees(admission(NOW + 1, replace(ADA, token_id="other"), address=AWAY)) == []
    assert world.sees(admission(NOW + 1, replace(ADA, token_id=""), address=OFFICE)) == []


def test_a_token_moves_between_networks_that_its_caller_uses():
    world = World()
    world.used_to(address=OFFICE)
    world.used_to(address=HOME)
    assert world.sees(admission(NOW, address=HOME), admission(NOW + 9, address=OFFICE)) == []


def test_a_network_of_many_callers_is_one_of_the_installation():
    world = World()
    for name in ("lisa", "tom", "kim"):
        world.used_to(caller(name), AWAY)
    assert world.sees(admission(NOW), admission(NOW + 9, address=AWAY)) == []


def roaming() -> World:
    """Ada came to many networks lately."""
    world = World()
    world.used_to(days=40)
    for number in range(4):
        world.used_to(address=f"192.{number}.2.1", days=20 - number)
    return world


def test_the_token_of_a_caller_who_roams_is_odd_once_it_is_used_in_two_networks_by_turns():
    world = roaming()
    assert world.sees(admission(NOW), admission(NOW + 9, address="100.64.0.1")) == []
    assert world.sees(admission(NOW + 20)) == [Kind.TOKEN_FROM_TWO_NETWORKS]
    assert world.sees(admission(NOW + 21)) == []


def test_it_is_odd_at_once_if_the_first_network_was_used_meanwhile():
    world = roaming()
    assert world.sees(admission(NOW, to=NOW + 1), admission(NOW + 0.5, address="100.64.0.1")) == [
        Kind.TOKEN_FROM_TWO_NETWORKS
    ]


def test_a_caller_who_roams_comes_back_later():
    world = roaming()
    world.sees(admission(NOW), admission(NOW + 9, address="100.64.0.1"))
    assert world.sees(admission(NOW + HOUR)) == []


# A new network


def test_a_caller_from_a_new_network_is_odd_after_twenty_successes():
    world = World()
    for number in range(SUCCESSES - 1):
        world.sees(admission(NOW + number, replace(ADA, token_id=str(number))))
    fresh = replace(ADA, token_id="fresh")
    assert world.sees(admission(NOW + 60, fresh, address=AWAY)) == []
    assert world.sees(admission(NOW + 61, replace(ADA, token_id="next"), address=HOME)) == [Kind.NEW_NETWORK]


def test_one_request_is_not_found_for_its_token_and_for_its_network():
    world = World()
    world.used_to()
    assert world.sees(admission(NOW), admission(NOW + 9, address=AWAY)) == [Kind.TOKEN_FROM_TWO_NETWORKS]
    assert world.found[0].evidence.networks == ("203.0.113.0/24", "192.0.2.0/24")


def test_a_network_is_new_once():
    world = World()
    world.used_to()
    assert world.sees(admission(NOW, address=AWAY)) == [Kind.NEW_NETWORK]
    assert world.sees(admission(NOW + DAY, replace(ADA, token_id="next"), address=AWAY)) == []


def test_another_address_of_the_same_provider_is_not_odd_of_a_person_but_of_an_application():
    world = World()
    world.used_to(address="198.51.100.7")
    world.used_to(APP, address="198.51.100.7")
    assert world.sees(admission(NOW, address="198.51.7.7")) == []
    assert world.sees(admission(NOW, APP, address="198.51.7.7")) == [Kind.NEW_NETWORK]


def test_a_caller_who_roams_is_expected_anywhere():
    assert roaming().sees(admission(NOW, address="100.64.0.1")) == []


# First use, credentials, dormant callers


def test_the_first_use_of_a_workflow_by_an_application_is_odd():
    world = World()
    world.used_to(APP)
    world.served("pay", NOW - 8 * DAY)
    assert world.sees(admission(NOW, APP, "pay")) == [Kind.FIRST_USE]
    assert world.found[0].subject == f"application/{APP.client_id}"
    assert world.sees(admission(NOW + 1, APP, "pay")) == []


def test_the_first_use_of_a_new_workflow_is_not():
    world = World()
    world.served("pay", NOW - 6 * DAY)
    assert world.sees(admission(NOW, APP, "pay"), admission(NOW, APP, "unknown")) == []


def test_nothing_is_a_first_use_before_uses_were_noted_for_a_week():
    world = World(since=NOW - 6 * DAY)
    world.served("pay", NOW - 30 * DAY)
    assert world.sees(admission(NOW, APP, "pay")) == []


def test_an_application_that_falls_from_a_certificate_to_a_secret_is_odd():
    world = World()
    certain, secret = replace(APP, credential="certificate"), replace(APP, credential="secret")
    world.used_to(certain)
    assert world.sees(admission(NOW, certain)) == []
    assert world.sees(admission(NOW + 1, secret)) == [Kind.CREDENTIAL_WEAKENED]
    assert world.sees(admission(NOW + 2, certain), admission(NOW + 3, secret)) == []


@pytest.mark.parametrize(("before", "now"), [("secret", "certificate"), ("public", "secret"), ("", "secret")])
def test_other_credentials_are_not(before: Any, now: Any):
    world = World()
    world.used_to(replace(APP, credential=before))
    assert world.sees(admission(NOW, replace(APP, credential=now))) == []


@pytest.mark.parametrize(("days", "odd"), [(59, []), (60, [Kind.DORMANT_CALLER])])
def test_a_caller_who_was_away_for_sixty_days_is_odd(days: int, odd: list[Kind]):
    world = World()
    world.used_to(until=NOW - (days - 1) * DAY)
    assert world.sees(admission(NOW)) == odd
    assert world.sees(admission(NOW + 1)) == []


def test_a_caller_who_was_never_there_is_not_dormant():
    assert World().sees(admission(NOW)) == []


# Rejected requests


def test_a_success_right_after_five_refusals_is_odd():
    world = World()
    assert world.sees(*(rejection(NOW + number, None, "signature") for number in range(FAILURES))) == []
    assert world.sees(admission(NOW + 10)) == [Kind.SUCCESS_AFTER_REFUSALS]
    assert world.sees(admission(NOW + 11)) == []


def test_refusals_at_the_address_of_an_office_are_of_nobody_in_particular():
    """Else one client without a token would make findings about all who work there."""
    world = World()
    for name in ("lisa", "tom", "kim"):
        world.used_to(caller(name))
    for name in ("lisa", "tom", "kim"):
        world.sees(*(rejection(NOW + number, None, "credentials") for number in range(FAILURES)))
        assert world.sees(admission(NOW + 10, caller(name))) == []
    world.sees(rejection(NOW + 20, caller("lisa"), "scope", count=FAILURES))
    assert world.sees(admission(NOW + 30, caller("lisa"))) == [Kind.SUCCESS_AFTER_REFUSALS]


def test_the_same_caller_may_have_been_refused_elsewhere():
    world = World()
    world.used_to(address=HOME)
    world.used_to(address=OFFICE)
    world.sees(rejection(NOW, reason="scope", address=HOME, count=FAILURES))
    assert world.sees(admission(NOW + 10, address=OFFICE)) == [Kind.SUCCESS_AFTER_REFUSALS]


@pytest.mark.parametrize(
    ("count", "after", "address", "status"),
    [(4, 10, OFFICE, 401), (5, 601, OFFICE, 401), (5, 10, HOME, 401), (5, 10, OFFICE, 400), (5, 10, "(many)", 401)],
)
def test_fewer_refusals_or_others_are_not(count: int, after: float, address: str, status: int):
    world = World()
    world.sees(rejection(NOW, None, "signature", address=address, count=count, status=status))
    assert world.sees(admission(NOW + after)) == []


def test_a_name_that_was_not_verified_is_not_the_callers():
    world = World()
    world.sees(rejection(NOW, ADA, "signature", address=HOME, count=99, verified=False))
    assert world.sees(admission(NOW + 10)) == []


def test_many_workflows_in_a_minute_are_odd_if_the_caller_did_not_use_them():
    world = World()
    tried = [admission(NOW + number, workflow=f"w{number}") for number in range(WORKFLOWS)]
    assert world.sees(*tried) == [Kind.MANY_WORKFLOWS]
    assert set(world.found[0].evidence.workflows) == {f"w{number}" for number in range(WORKFLOWS)}
    again = [admission(NOW + DAY + number, workflow=f"w{number}") for number in range(WORKFLOWS)]
    assert world.sees(*again) == []


@pytest.mark.parametrize(
    ("known_for", "served_for", "odd"),
    [
        (59.0, 30, {Kind.FIRST_USE}),
        (60.0, 30, {Kind.FIRST_USE, Kind.MANY_WORKFLOWS}),
        (59.0, 6, {Kind.MANY_WORKFLOWS}),
    ],
)
def test_many_workflows_of_an_application_in_its_first_minute_are_in_the_finding_of_its_first_use(
    known_for: float, served_for: int, odd: set[Kind]
):
    world, who = World(), caller("new", client="77777777-7777-4777-8777-777777777777", kind="application")
    for number in range(WORKFLOWS):
        world.served(f"w{number}", NOW - served_for * DAY)
    world.sees(admission(NOW - known_for, who))
    seen = world.sees(*(admission(NOW + number / 100, who, f"w{number}") for number in range(WORKFLOWS)))
    assert set(seen) == odd
    assert len({each.key for each in world.found}) == len(odd)


def test_refused_ones_count_too_and_slow_ones_do_not():
    world = World()
    mixed = [rejection(NOW + n, reason="role", workflow=f"w{n}") for n in range(4)]
    mixed += [rejection(NOW + n, reason="role", workflow=f"w{n}") for n in range(4, WORKFLOWS)]
    assert world.sees(*mixed) == [Kind.MANY_WORKFLOWS]
    slow = [rejection(NOW + HOUR + 10 * n, reason="role", workflow=f"w{n}") for n in range(WORKFLOWS)]
    assert world.sees(*slow) == []


def test_an_address_that_tries_many_workflows_without_a_token_is_odd():
    world = World()
    tried = [rejection(NOW + n, None, "credentials", workflow=f"w{n}", address=AWAY) for n in range(WORKFLOWS)]
    assert world.sees(*tried) == [Kind.MANY_WORKFLOWS]
    assert world.found[0].subject == f"address/{AWAY}"
    assert not world.found[0].who.object_id


def test_a_revoked_token_that_is_used_is_odd():
    assert World().sees(rejection(NOW, reason="revoked")) == [Kind.REVOKED_TOKEN_USED]
    assert World().sees(rejection(NOW, reason="revoked", verified=False)) == []


def test_an_expired_token_is_odd_if_it_is_used_again_and_again():
    world = World()
    few = [rejection(NOW + 10 * n) for n in range(EXPIRED_USES - 1)]
    assert world.sees(*few) == []
    assert world.sees(rejection(NOW + 60)) == [Kind.EXPIRED_TOKEN_USED]


def test_or_if_it_is_used_in_a_network_that_its_caller_never_used():
    world = World()
    world.used_to()
    assert world.sees(rejection(NOW)) == []
    assert world.sees(rejection(NOW + 1, address=AWAY)) == [Kind.EXPIRED_TOKEN_USED]
    assert World().sees(rejection(NOW + 1, address=AWAY)) == []  # nothing is known of this caller


# Bursts


@pytest.mark.parametrize(
    ("kind", "who", "subject"),
    [
        (Kind.REFUSALS_OF_CALLER, ADA, f"{TENANT}/ada"),
        (Kind.REFUSALS_FROM_ADDRESS, None, f"address/{AWAY}"),
    ],
)
def test_a_burst_of_refusals_is_odd(kind: Kind, who: Caller | None, subject: str):
    world = World()
    most = BURSTS[kind]
    assert world.sees(*(rejection(NOW + n / 10, who, "signature", address=AWAY) for n in range(most - 1))) == []
    last = rejection(NOW + most / 10, who, "signature", address=AWAY, count=3)
    assert world.sees(last) == [kind]
    assert (world.found[0].subject, world.found[0].count) == (subject, 3)


def test_a_client_whose_callers_are_refused_is_odd():
    world = World()
    most = BURSTS[Kind.REFUSALS_OF_CLIENT]
    seen = world.sees(
        *(rejection(NOW + n / 10, caller(f"c{n}"), "signature", address=f"192.0.2.{n}") for n in range(most + 3))
    )
    assert set(seen) == {Kind.REFUSALS_OF_CLIENT}


def test_refusals_that_come_slowly_are_no_burst():
    world = World()
    seen = world.sees(*(rejection(NOW + 5 * n, reason="scope", address=AWAY) for n in range(500)))
    assert seen == []


def test_bad_requests_of_admitted_callers_are_no_burst_and_unknown_triggers_are():
    world = World()
    assert world.sees(rejection(NOW, None, "bad-input", address=AWAY, count=500, code="bad-input", status=400)) == []
    unknown = rejection(NOW, None, "unknown-trigger", address=AWAY, count=500, code="unknown-trigger", status=404)
    assert world.sees(unknown) == [Kind.REFUSALS_FROM_ADDRESS]


def test_an_ipv6_client_is_one_subject_whatever_addresses_of_its_network_it_takes():
    world = World()
    flood = [rejection(NOW, None, "signature", address=f"2001:db8:1:2::{n:x}", count=2) for n in range(60)]
    assert set(world.sees(*flood)) == {Kind.REFUSALS_FROM_ADDRESS}
    assert {each.subject for each in world.found} == {"address/2001:db8:1:2::/64"}


def test_further_subjects_share_one_finding_of_a_kind():
    world = World()
    for number in range(MOST_OF_KIND + 50):
        address = f"10.{number // 250}.{number % 250}.1"
        world.sees(rejection(NOW + MINUTE * number / 100, None, "signature", address=address, count=100))
    assert len({each.key for each in world.found}) == MOST_OF_KIND + 1
    [shared] = {each.key for each in world.found if each.subject == MANY_SUBJECTS}
    assert shared[1] == Kind.REFUSALS_FROM_ADDRESS.value


def test_a_flood_of_addresses_without_a_token_does_not_hide_a_caller():
    world = World()
    for number in range(MOST_OF_KIND + 50):
        address = f"10.{number // 250}.{number % 250}.1"
        for each in range(8):
            world.sees(rejection(NOW + number / 10, None, workflow=f"w{each}", address=address))
    world.found.clear()
    for each in range(8):
        world.sees(rejection(NOW + HOUR, ADA, "signature", workflow=f"w{each}"))
    assert [(found.kind, found.subject, found.who.object_id) for found in world.found] == [
        (Kind.MANY_WORKFLOWS, f"{TENANT}/ada", "ada")
    ]


def test_the_first_sighting_has_no_more_ids_than_later_ones():
    world = World()
    ids = tuple(str(number) for number in range(50))
    world.sees(replace(rejection(NOW, None, "signature", address=AWAY, count=500), request_ids=ids))
    assert world.found[0].evidence.refused == ids[:MOST_NOTED]


def test_a_caller_from_countless_networks_adds_few_of_them_in_a_day():
    """So it does not push what is known of others out of the table."""
    world = World()
    world.sees(*(admission(NOW + number, ADA, address=f"2001:db8:{number:x}::1") for number in range(500)))
    assert world.knowledge.pending < 2 * MOST_NETWORKS + 10
    pending = world.knowledge.pending
    world.sees(admission(NOW + DAY + 70, ADA, address="192.0.2.1"))
    assert world.knowledge.pending == pending + 2


def test_anonymous_callers_are_not_watched():
    world = World()
    before = world.knowledge.pending
    world.sees(*(admission(NOW + n, ANYONE, f"w{n}", f"10.0.{n}.1") for n in range(50)))
    assert world.found == []
    assert world.knowledge.pending == before
