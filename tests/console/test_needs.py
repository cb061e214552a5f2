"""What needs a person, in words."""

from pathlib import Path

import pytest

from postern.api.grant_actions import Own
from postern.catalog import Fault
from postern.connections.faults import ConnectionFault
from postern.connections.grants.entries import GrantedEntry
from postern.connections.grants.states import condition
from postern.connections.vault.secret import SecretState
from postern.console import needs
from postern.console.needs import MOST_LISTED, Need
from postern.console.words import THIN
from postern.journal.grants import State
from postern.journal.reading.attention import Burst, Failing
from postern.settings import Connection, GrantedAuth
from tests.grants import grant

NOW = 1_767_268_800.0
DAY = 86_400.0
RUN = "019b7968-ac00-7000-8000-000000000001"
UNREAD = ConnectionFault("the secret graph", "cannot be read", "Give the identity the role")


def state(name: str, days: float | None = None, fault: ConnectionFault | None = None) -> SecretState:
    return SecretState(name, ("connections.graph",), None if days is None else NOW + days * DAY, fault)


@pytest.mark.parametrize(
    ("days", "words", "urgent"),
    [
        (-2, "The secret k has expired", True),
        (0.5, "The secret k expires within a day", True),
        (1.5, "The secret k expires in 1 day", True),
        (6.9, "The secret k expires in 6 days", True),
        (29, "The secret k expires in 29 days", False),
    ],
)
def test_a_secret_that_ends_within_30_days_is_listed(days: float, words: str, urgent: bool):
    (need,) = needs.of_secrets({"k": state("k", days)}, NOW)
    assert (need.what, need.urgent, need.path, need.at) == (words, urgent, "/secrets", NOW + days * DAY)
    assert need.more == "Used by connections.graph."


def test_a_secret_that_is_good_for_long_or_without_end_needs_nobody():
    assert needs.of_secrets({"k": state("k", 31), "l": state("l")}, NOW) == []


def test_secrets_that_cannot_be_read_come_first_and_then_the_first_to_end():
    states = {"a": state("a", 20), "b": state("b", -1), "graph": state("graph", fault=UNREAD), "d": state("d", 3)}
    found = [need.what for need in needs.of_secrets(states, NOW)]
    assert found == [
        "The secret graph cannot be read",
        "The secret b has expired",
        "The secret d expires in 3 days",
        "The secret a expires in 20 days",
    ]
    assert needs.of_secrets(states, NOW)[0].more == (
        "the secret graph cannot be read. Give the identity the role. Used by connections.graph."
    )


def test_a_faulty_file_is_listed_with_its_line_cause_and_fix_and_what_it_still_serves():
    faults = (
        Fault(Path("/srv/workflows/order.py"), 12, "NameError: name 'x' is not defined", "Define it", ("order",)),
        Fault(Path("/srv/workflows/visit.py"), None, "It has no workflow.", "", ()),
    )
    first, second = needs.of_files(faults)
    assert first.what == "order.py, line 12 cannot be loaded"
    assert first.more == (
        "NameError: name 'x' is not defined. Define it. The last version that worked still serves order."
    )
    assert (second.what, second.more) == ("visit.py cannot be loaded", "It has no workflow. It serves no workflow.")


def test_only_readiness_checks_that_fail_are_listed_with_their_reason():
    assert needs.of_readiness({"journal": "", "keys": "no usable signing keys yet"}) == [
        Need("Readiness", "The readiness check keys fails", more="no usable signing keys yet.")
    ]


def test_a_workflow_whose_last_run_failed_comes_before_one_that_recovered():
    failing = [
        Failing("hello", 1, RUN, NOW, "KeyError", more=False, recovered=True),
        Failing("a&b", 300, RUN, NOW, "", more=True, recovered=False),
    ]
    first, second = needs.of_runs(failing)
    assert first == Need(
        "Runs",
        "a&b: 300 or more runs failed in 24 hours",
        f"/runs/{RUN}",
        "",
        "Last failure",
        NOW,
        True,
        ("All runs", "/runs?workflow=a%26b&since=24h"),
    )
    assert (second.what, second.urgent) == ("hello: 1 run failed in 24 hours", False)
    assert second.more == "Last error: KeyError. A later run succeeded."


@pytest.mark.parametrize(
    ("burst", "what", "more", "path", "other"),
    [
        (
            Burst("signature", "payroll", 1234, 3, NOW, RUN),
            f"1{THIN}234 requests for payroll were rejected in the last hour. The signature is not of that key.",
            "From 3 addresses.",
            f"/refusals/{RUN}",
            "/refusals?reason=signature&workflow=payroll&since=1h",
        ),
        (
            Burst("not-found", "", 20, None, NOW, "odd/../id"),
            "20 requests were rejected in the last hour. Not found.",
            "From very many addresses.",
            "/refusals",
            "/refusals?reason=not-found&since=1h",
        ),
    ],
)
def test_rejected_requests_are_listed_with_their_reason_and_where_they_came_from(
    burst: Burst, what: str, more: str, path: str, other: str
):
    (need,) = needs.of_refusals([burst])
    assert (need.what, need.more, need.path, need.other) == (what, more, path, ("All refusals", other))


def test_of_very_many_things_of_a_kind_the_first_are_listed_and_the_others_counted():
    faults = [Fault(Path(f"w{n}.py"), None, "x" * 5000, "", tuple(f"w{m}" for m in range(50))) for n in range(1000)]
    found = needs.of_files(faults)
    assert len(found) == MOST_LISTED + 1
    assert found[-1] == Need("File", "992 more faulty files", "/workflows", urgent=False)
    assert all(len(need.more) < 1000 for need in found)
    assert "and 42 more" in found[0].more


@pytest.mark.parametrize(
    ("number", "words"), [(0, "Nothing needs you."), (1, "1 thing needs you"), (2, "2 things need you")]
)
def test_the_heading_says_how_many_things_there_are(number: int, words: str):
    assert needs.headline([Need("File", "x")] * number) == words


def test_characters_that_no_reader_sees_are_shown_as_codes():
    fault = Fault(Path("a\u202eb.py"), None, "\x1b[31m", "", ())
    assert needs.of_files([fault])[0].what == "a\\u202eb.py cannot be loaded"
    assert "\x1b" not in needs.of_files([fault])[0].more


def own(name: str, state: str = "", *, per_user: bool = True, reason: str = "", ends_at: float | None = None) -> Own:
    """An entry with a grant in this stored state; "" for none."""
    auth = GrantedAuth.model_construct(flow="authorization_code", client_id="me", per_user=per_user)
    there = Connection.model_construct(base_url="https://a.example", auth=auth)
    entry = GrantedEntry(name, f"connections.{name}", there, auth)
    given = {"state": State(state or "Connected"), "reason": reason, "refresh_expires_at": ends_at}
    found = grant(connection=name, **given) if state else None
    return Own(entry, found, condition(found, NOW))


CONNECTIONS: list[tuple[Own, bool, str, bool]] = [
    (own("tickets"), True, "tickets is not connected", False),
    (own("tickets"), False, "", False),
    (own("crm", per_user=False), True, "crm is not connected", True),
    (own("tickets", "Connected"), True, "", False),
    (own("tickets", "Connected", ends_at=NOW + DAY), True, "Your connection tickets ends soon", False),
    (own("tickets", "Broken", reason="revoked"), False, "Your connection tickets is broken", True),
    (own("crm", "Broken", per_user=False), True, "The shared connection crm is broken", True),
]


@pytest.mark.parametrize(("found", "used", "words", "urgent"), CONNECTIONS)
def test_a_connection_that_a_person_has_to_connect_is_listed(found: Own, used: bool, words: str, urgent: bool):
    listed = needs.of_connections([found], {found.entry.name} if used else set(), {})
    assert [(need.what, need.urgent, need.connection) for need in listed] == (
        [(words, urgent, found.entry.name)] if words else []
    )
    assert all("You must" in need.more or need.when == "Ends" for need in listed)


def test_a_broken_connection_comes_first_and_operators_see_how_many_people_have_one():
    listed = needs.of_connections([own("a"), own("b", "Broken")], {"a", "b"}, {"a": 0, "b": 1, "triggers.pay": 12})
    assert [(need.what, need.path) for need in listed] == [
        ("Your connection b is broken", ""),
        ("a is not connected", ""),
        ("1 person has a broken grant of b", "/connections/connections.b/people"),
        ("12 people have a broken grant of triggers.pay", "/connections/triggers.pay/people"),
    ]
