"""A whole server notes each kind of event where it happens, with the fields of the table and without secrets."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postern.journal import retention
from postern.journal.audit_event import CALLER, FIELDS, Kind
from postern.local_tenant import LocalTenant
from tests.console.consents import SECRET, Installation, installation
from tests.console.consoles import Browser
from tests.strict_provider import CLIENT_SECRET, Rules

pytestmark = pytest.mark.process

OF_OTHERS = {
    *(Kind.REVOCATION, Kind.REVOCATION_LIFTED, Kind.FINDING, Kind.FINDING_ACKNOWLEDGED),
    *(Kind.SIGNED_URL_MADE, Kind.SIGNED_URL_REVOKED, Kind.EVENTS_LOST),
    *(Kind.RUN_RESUMED, Kind.SIGNAL_SENT, Kind.APPROVAL_DECIDED),
}
"""Kinds that tests of other rooms make happen."""

MARKER = "hunter2-marker"
WORKFLOWS = """
import asyncio
from postern import Context, anonymous, specific_users, workflow

@workflow(secure_inputs=True)
async def hides(ctx: Context, body: dict) -> str:
    return "done"

@workflow
async def waits(ctx: Context) -> None:
    await asyncio.Event().wait()

@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    return "hello"
"""
LATER = """
from postern import {access}, Context, workflow
@workflow(access={access}())
async def later(ctx: Context): {does}
"""


@dataclass
class Audited:
    """The events that were noted, and texts that none of them may have."""

    events: list[dict[str, Any]]
    secrets: list[str]
    people: dict[str, str]
    runs: dict[str, str]

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        return [event["fields"] for event in self.events if event["kind"] == kind]


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


async def of_files(at: Installation, folder: Path) -> None:
    """A workflow is added, changed, closed, faulty and removed."""
    file, snapshot = folder / "later.py", lambda: at.console.app.catalog.snapshot

    def served() -> Any:
        return snapshot().triggers.get("later")

    file.write_text(LATER.format(access="anonymous", does="return 1"))
    await until(served)
    first = served().sha256
    file.write_text(LATER.format(access="tenant_users", does="return 2"))
    await until(lambda: served().sha256 != first)
    file.write_text("1 / 0\n")
    await until(lambda: snapshot().faults)
    file.unlink()
    await until(lambda: served() is None)


async def of_runs(at: Installation, audited: Audited) -> None:
    """Lisa starts runs; ada, an operator, views, cancels and resubmits them, by the API and in the console."""
    lisa, ada = ({"authorization": f"Bearer {at.tenant.token(who)}"} for who in ("lisa", "ada"))
    expired = {"authorization": f"Bearer {at.tenant.token('lisa', expired=True)}"}
    audited.secrets += [each["authorization"].removeprefix("Bearer ") for each in (lisa, ada, expired)]
    client = at.console.browser().client
    hidden = await client.post("/triggers/hides", headers=lisa, json={"password": MARKER})
    audited.runs["hides"] = hidden.headers["x-run-id"]
    assert (await client.post(f"/triggers/hello?sig={MARKER}", headers={"cookie": f"a={MARKER}"})).status_code == 200
    assert (await client.post("/triggers/hides", headers=expired, json={})).status_code == 401
    waiting = asyncio.create_task(client.post("/triggers/waits", headers=lisa))
    await until(lambda: at.console.execute("SELECT id FROM runs WHERE workflow = 'waits'"))
    [[waits]] = at.console.execute("SELECT id FROM runs WHERE workflow = 'waits'")
    audited.runs["waits"] = waits
    for _ in range(3):
        assert (await client.get(f"/runs/{waits}", headers=ada)).status_code == 200
    assert (await client.get(f"/runs/{waits}", headers=lisa)).status_code == 200
    assert (await client.post(f"/runs/{waits}/cancel", headers=ada)).status_code in (200, 202)
    await waiting
    hello = (await client.post("/triggers/hello")).headers["x-run-id"]
    again = await client.post(f"/runs/{hello}/resubmit", headers=ada)
    assert again.status_code == 201
    audited.runs |= {"hello": hello, "again": again.json()["id"]}


async def of_people(at: Installation, lisa: Browser, ada: Browser, audited: Audited) -> None:
    """People connect, refuse, are asked to and disconnect; sessions end."""
    await at.connect(lisa)
    await lisa.post("/connect/tickets/disconnect")
    at.provider.rules = Rules(denied="access_denied")
    await at.connect(lisa)
    client, token = at.console.browser().client, {"authorization": f"Bearer {at.tenant.token('ada')}"}
    link = await client.post("/connections/tickets/links", headers=token, json={"for": at.tenant.people["lisa"]})
    assert link.status_code == 201
    audited.secrets += [link.json()["url"].rpartition("/")[2], lisa.cookie(), ada.cookie()]
    run = audited.runs["hides"]
    assert (await ada.get(f"/console/runs/{run}")).status_code == 200
    assert (await ada.get(f"/console/runs/{run}", **{"hx-request": "true"})).status_code == 200
    [[session]] = at.console.execute(f"SELECT id_hash FROM sessions WHERE object_id = '{at.tenant.people['lisa']}'")
    await ada.post(f"/console/sessions/{session}/end")
    await ada.post("/console/sign-out")


async def scenario(local: LocalTenant, folder: Path) -> Audited:
    """All of it, and the events after the server has stopped."""
    found = Audited([], [MARKER, f'"{CLIENT_SECRET}"', "eyJ", "sig="], dict(local.people), {})
    async with installation(local, folder, operators=[local.people["ada"]]) as at:
        lisa, ada = await at.console.signed_in("lisa"), await at.console.signed_in("ada")
        at.console.execute(
            "INSERT INTO refusals (id, reason, code, status, workflow, client_address, first_at, last_at, count, "
            f"request_ids, checks) VALUES ('{'0' * 36}', 'a', 'a', 401, '', '', 1, 1, 1, '', '[]')"
        )
        await of_runs(at, found)
        await of_people(at, lisa, ada, found)
        await of_files(at, folder)
        await until(lambda: not at.console.execute("SELECT 1 FROM refusals WHERE last_at = 1"))
        console = at.console
    rows = console.execute("SELECT body FROM audit_events ORDER BY number")
    found.events = [json.loads(body) for (body,) in rows]
    return found


@pytest.fixture(scope="module")
def audited(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audited")
    (folder / "runs.py").write_text(WORKFLOWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "FIRST", 0.0)
        patch.setattr(retention, "EVERY", 0.05)
        return asyncio.run(scenario(local_tenant, folder))


def test_each_kind_is_noted(audited: Audited):
    assert set(Kind) - OF_OTHERS <= {event["kind"] for event in audited.events}


def test_the_fields_of_each_event_are_those_of_the_table(audited: Audited):
    for event in audited.events:
        assert set(event["fields"]) == set(FIELDS[Kind(event["kind"])]), event


def test_no_event_has_a_token_a_secret_a_cookie_or_a_body(audited: Audited):
    text = json.dumps(audited.events)
    assert [secret for secret in audited.secrets if secret in text] == []
    assert len(audited.secrets) > 8


def test_an_event_names_who_did_it(audited: Audited):
    by_ada = {*(event["kind"] for event in audited.events if event["subject"] == audited.people["ada"])}
    assert by_ada >= {Kind.SIGN_IN, Kind.SIGN_OUT, Kind.CONSENT, Kind.RECORD_VIEWED, Kind.RUN_CANCELLED}
    for event in audited.events:
        if event["subject"] and "name" in event["fields"]:
            assert set(CALLER) <= set(event["fields"])
            assert event["fields"]["object_id"] == event["subject"]


def test_admissions_are_counted_by_caller_and_workflow(audited: Audited):
    found = {(each["name"][:4], each["workflow"]): each for each in audited.of(Kind.ADMISSION)}
    assert found["Lisa", "hides"]["request_ids"] == [audited.runs["hides"]]
    assert found["", "hello"]["count"] == 2
    assert found["", "hello"]["request_ids"] == []


def test_a_rejected_token_of_our_tenant_is_named_and_where_it_failed(audited: Audited):
    [refusal] = [each for each in audited.of(Kind.REFUSAL) if each["reason"] == "expiry"]
    assert (refusal["object_id"], refusal["workflow"]) == (audited.people["lisa"], "hides")


def test_a_view_is_noted_once_a_minute_and_by_whom_of_whose_run(audited: Audited):
    views = audited.of(Kind.RECORD_VIEWED)
    assert [(each["run"], each["owner"]) for each in views] == [
        (audited.runs["waits"], audited.people["lisa"]),
        (audited.runs["hides"], audited.people["lisa"]),
    ]


def test_the_id_of_an_anonymous_run_which_gives_access_to_it_is_in_no_event(audited: Audited):
    [again] = audited.of(Kind.RUN_RESUBMITTED)
    assert (again["run"], again["new_run"], again["workflow"]) == ("", "", "hello")
    text = json.dumps(audited.events)
    assert audited.runs["hello"] not in text
    assert audited.runs["again"] not in text


def test_consent_is_noted_with_what_was_done(audited: Audited):
    found = [(each["name"][:4], each["connection"], each["action"]) for each in audited.of(Kind.CONSENT)]
    assert found == [
        ("Lisa", "tickets", "connected"),
        ("Lisa", "tickets", "disconnected"),
        ("Lisa", "tickets", "refused"),
        ("Ada ", "tickets", "link-made"),
    ]
    assert {each["owner"] for each in audited.of(Kind.CONSENT)} == {audited.people["lisa"]}


def test_a_session_that_an_operator_ends_names_its_owner(audited: Audited):
    assert [(each["object_id"], each["owner"]) for each in audited.of(Kind.SIGN_OUT)] == [
        (audited.people["ada"], audited.people["lisa"]),
        (audited.people["ada"], audited.people["ada"]),
    ]


def test_a_secret_is_noted_once_for_each_version(audited: Audited):
    found = [(each["secret"], each["version"]) for each in audited.of(Kind.SECRET_READ)]
    assert len(found) == len(set(found))
    assert SECRET in {name for name, _ in found}
    assert all(version for _, version in found)


def test_the_access_of_a_changed_workflow_is_noted_before_and_after(audited: Audited):
    [change] = audited.of(Kind.ACCESS_CHANGED)
    assert change["before"] == {"mode": "anonymous"}
    assert change["after"]["mode"] == "tenant_users"
    assert len(change["sha256"]) == 64
