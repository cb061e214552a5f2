"""The rows of the access review: who may call what, why, and what is odd about it."""

from pathlib import Path
from typing import Any

import pytest

from postern.access import SenderSignature, anonymous, bind, specific_users, tenant_users
from postern.access.directory import DirectoryObject, Looked
from postern.authoring.workflow import workflow
from postern.catalog import Trigger
from postern.console.access_words import access_words
from postern.journal.known_callers import WorkflowUse
from postern.journal.reading.access_facts import AccessFacts, Link
from postern.security.review.review import Realm, Review, Row, review, to_look_up

DAY = 86400.0
NOW = 1_000 * DAY
TENANT, OTHER = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"
ADA, LISA, GIL, JOB, GONE = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 6))
REALM = Realm(TENANT, {LISA: "lisa"}, (ADA,), frozenset({"hello"}))
OLD = NOW - 400 * DAY


def served(name: str, access: Any, **options: Any) -> Trigger:
    """A workflow with this access, bound here."""

    @workflow(access=access, name=name, **options)
    async def function(ctx: Any) -> None: ...

    policy = bind(access, people={"lisa": LISA}, tenants=[TENANT], audiences=["api://postern"])
    return Trigger(function, policy, Path("x.py"))


def used(object_id: str, name: str, last: float, tenant: str = TENANT) -> WorkflowUse:
    return WorkflowUse(tenant, object_id, name, last - DAY, last, 7)


def made(
    *triggers: Trigger, facts: AccessFacts | None = None, looked: Looked | None = None, realm: Realm = REALM
) -> Review:
    def words(access: Any, policy: Any) -> tuple[str, tuple[str, ...]]:
        found = access_words(access, policy)
        return found.who, found.conditions

    return review(triggers, facts or AccessFacts(known_since=OLD), realm, looked or Looked(), words, NOW)


def rows_of(found: Review, name: str) -> list[Row]:
    return [row for row in found.rows if row.workflow == name]


def test_anyone_is_marked_and_unexpected_unless_the_settings_name_the_workflow():
    found = made(served("hello", anonymous()), served("leak", anonymous()), facts=AccessFacts(last_runs={"leak": 5.0}))
    assert [(row.who, row.marks, row.last_used) for row in found.rows[:2]] == [
        ("anyone", ("anyone",), None),
        ("anyone", ("anyone", "unexpected"), 5.0),
    ]
    assert found.unexpected == ("leak",)


def test_the_tenant_is_one_row_and_those_who_used_it_are_others():
    facts = AccessFacts((used(LISA, "open", NOW - DAY), used(GIL, "open", NOW - 2 * DAY), used(ADA, "x", NOW)), OLD)
    rows = rows_of(made(served("open", tenant_users(roles=["Clerk"])), facts=facts), "open")
    assert [(row.who, row.object_id, row.last_used, row.uses) for row in rows] == [
        ("tenant", "", NOW - DAY, 14),
        ("caller", LISA, NOW - DAY, 7),
        ("caller", GIL, NOW - 2 * DAY, 7),
    ]
    assert all(row.conditions == ("the caller has the app role Clerk",) for row in rows)


@pytest.mark.parametrize("access", [anonymous(), tenant_users(), specific_users("lisa")])
def test_the_networks_of_a_workflow_are_a_condition_of_every_row(access: Any):
    facts = AccessFacts((used(ADA, "near", NOW),), OLD)
    rows = rows_of(made(served("near", access, networks=["10.0.0.0/8", "192.0.2.7"]), facts=facts), "near")
    assert rows
    assert all(row.conditions == ("the request comes from 10.0.0.0/8, 192.0.2.7/32",) for row in rows)


def test_those_on_a_list_are_rows_whether_they_used_it_or_not():
    facts = AccessFacts((used(LISA, "pay", NOW - DAY), used(GIL, "pay", NOW)), OLD)
    rows = rows_of(made(served("pay", specific_users("lisa", GONE)), facts=facts), "pay")
    assert [(row.object_id, row.why, row.name, row.uses, row.marks) for row in rows] == [
        (LISA, "specific_users(lisa)", "lisa", 7, ()),
        (GONE, "specific_users(an object id)", "", 0, ("unknown", "unused")),
    ]


@pytest.mark.parametrize(
    ("found", "in_people", "marks", "name", "who"),
    [
        (DirectoryObject("person", "Lisa Moreau"), True, (), "Lisa Moreau", "person"),
        (DirectoryObject("person", "Gil", guest=True), False, ("guest",), "Gil", "person"),
        (DirectoryObject("person", "Gil", enabled=False), False, ("disabled",), "Gil", "person"),
        (DirectoryObject("application", "job", client_id="c"), False, (), "job", "application"),
        (None, True, ("unknown",), "lisa", "caller"),
        (None, False, ("unknown",), "", "caller"),
        ("not looked up", True, (), "lisa", "caller"),
        ("not looked up", False, ("unknown",), "", "caller"),
    ],
)
def test_what_the_directory_says_gives_names_and_marks(found: Any, in_people: bool, marks: Any, name: str, who: str):
    object_id = LISA if in_people else GIL
    looked = Looked({} if found == "not looked up" else {object_id: found})
    facts = AccessFacts((used(object_id, "pay", NOW),), OLD)
    row = rows_of(made(served("pay", specific_users(object_id)), facts=facts, looked=looked), "pay")[0]
    assert (row.marks, row.name, row.who) == (marks, name, who)


def test_callers_of_another_tenant_are_not_looked_for_in_ours():
    facts = AccessFacts((used(GIL, "open", NOW, OTHER),), OLD)
    triggers = [served("open", tenant_users(tenants=[OTHER]))]
    assert to_look_up(triggers, facts, REALM) == [ADA]
    row = rows_of(made(*triggers, facts=facts, looked=Looked({GIL: None})), "open")[1]
    assert (row.tenant_id, row.marks) == (OTHER, ())


@pytest.mark.parametrize(
    ("last", "known_since", "unused"),
    [
        (NOW - 91 * DAY, OLD, True),
        (NOW - 89 * DAY, OLD, False),
        (None, OLD, True),
        (None, NOW - 89 * DAY, False),
        (None, None, False),
    ],
)
def test_never_used_is_said_only_where_uses_are_known_for_long_enough(
    last: float | None, known_since: float | None, unused: bool
):
    facts = AccessFacts((used(LISA, "pay", last),) if last is not None else (), known_since)
    row = rows_of(made(served("pay", specific_users("lisa")), facts=facts), "pay")[0]
    assert ("unused" in row.marks) is unused


@pytest.mark.parametrize("revoked", [JOB, "the-client-id"])
def test_a_revoked_caller_or_client_is_marked(revoked: str):
    facts = AccessFacts((used(JOB, "open", NOW),), OLD, revoked=frozenset({revoked}))
    looked = Looked({JOB: DirectoryObject("application", "job", client_id="the-client-id")})
    row = rows_of(made(served("open", tenant_users()), facts=facts, looked=looked), "open")[1]
    assert row.marks == ("revoked",)


def test_signed_urls_and_senders_are_rows_and_not_anyone():
    links = (Link("hook", "partner-x", "primary", None, 3, NOW), Link("other", "y", "primary", NOW, 0, None))
    by_github = anonymous(signed_by=SenderSignature("github", ("github-hook",), "X-Hub-Signature-256"))
    found = made(
        served("hook", anonymous(signed=True)),
        served("push", by_github),
        facts=AccessFacts(links=links, known_since=OLD, last_runs={"push": 9.0}),
    )
    link, sender = found.rows[:2]
    assert (link.who, link.object_id, link.uses, link.last_used) == ("link", "partner-x", 3, NOW)
    assert link.why == "anonymous(signed=True), primary key"
    assert "the link does not expire" in link.conditions
    assert (sender.who, sender.why, sender.last_used) == (
        "sender",
        "anonymous(signed_by=github), secret github-hook",
        9.0,
    )
    assert found.unexpected == ()


def test_operators_are_rows_too():
    rows = rows_of(made(looked=Looked({ADA: DirectoryObject("person", "Ada Okafor")})), "")
    assert [(row.who, row.name, row.why) for row in rows] == [
        ("person", "Ada Okafor", "POSTERN_OPERATORS"),
        ("role", "Everyone who has the role in Entra", "app role Postern.Operator"),
    ]
