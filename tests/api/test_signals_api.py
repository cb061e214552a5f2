"""`POST /runs/{id}/signals/{name}`: who may send a signal to a run, and what they get."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from postern.authoring.workflow import MAX_ELEMENTS
from postern.http_client import Response
from postern.journal.audit_event import FIELDS, Kind
from postern.journal.durable_tables import durable_runs, signals
from postern.journal.signals import MOST, RESERVED
from postern.local_tenant import LocalTenant
from tests.api.installations import (
    ADAS_RUN,
    ANONYMOUS_RUN,
    LISAS_RUN,
    MOST_BODY,
    RUNNING,
    UNKNOWN,
    RunApi,
    open_run_api,
)
from tests.journal.engines import add
from tests.journal.test_reads_of_durable_runs import durable_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

WORKFLOWS = """
from postern import anonymous, specific_users, tenant_users, workflow

@workflow(access=anonymous(), durable=True)
async def hello(ctx) -> None: ...

@workflow(access=tenant_users(), durable=True, signals=specific_users("lisa", apps=False))
async def payroll(ctx) -> None: ...

@workflow(access=tenant_users(), durable=True, signals=anonymous())
async def public(ctx) -> None: ...
"""


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API with an anonymous caller's run, and Ada's of each workflow, all of them durable but one."""
    async with open_run_api(tmp_path, local_tenant, WORKFLOWS) as run_api:
        run_api.change(ADAS_RUN, state="Running", ended_at=None, workflow="hello")
        run_api.change(LISAS_RUN, object_id=run_api.local.directory.people["ada"].object_id)
        add(run_api.engine, durable_runs, *(durable_row(run) for run in (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN)))
        yield run_api


async def send(run_api: RunApi, run_id: str, who: str = "", name: str = "go", **more: Any) -> Response:
    headers = {"Authorization": f"Bearer {run_api.token(who)}"} if who else {}
    headers |= more.pop("headers", {})
    return await run_api.client.post(f"/runs/{run_id}/signals/{name}", headers=headers, **more)


def kept(run_api: RunApi) -> list[Any]:
    with run_api.engine.connect() as connection:
        return list(connection.execute(select(signals)).all())


MAY_SEND = """
                  | anonymous's | ada's | ada's, lisa may | ada's, anyone may | no run
                  | 403         | 404   | 404             | 202               | 404
ada               | 403         | 202   | 401             | 202               | 404
lisa              | 403         | 404   | 202             | 202               | 404
gil               | 202         | 202   | 401             | 202               | 404
operator          | 202         | 202   | 401             | 202               | 404
backup-job        | 403         | 404   | 404             | 202               | 404
expired           | 403         | 401   | 401             | 202               | 401
ada elsewhere     | 403         | 401   | 401             | 202               | 401
garbage           | 403         | 401   | 401             | 202               | 401
"""
"""Rows are tokens, columns are runs. Gil is an operator by the settings. `signals=` lets lisa in, and nobody else."""


async def test_who_may_send_a_signal_to_which_run(run_api: RunApi):
    public = RUNNING
    run_api.change(public, workflow="public")
    add(run_api.engine, durable_runs, durable_row(public))
    ids = (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, public, UNKNOWN)
    for line in MAY_SEND.strip("\n").splitlines()[1:]:
        who, *expected = (part.strip() for part in line.split("|"))
        found = [str((await send(run_api, run_id, who, json={})).status_code) for run_id in ids]
        assert found == expected, who


async def test_a_run_that_is_another_callers_looks_like_none_at_all(run_api: RunApi):
    for who in ("", "lisa", "garbage"):
        answers = [await send(run_api, run_id, who, json={}) for run_id in (ADAS_RUN, UNKNOWN)]
        documents = [answer.json() | {"request_id": ""} for answer in answers]
        assert documents[0] == documents[1]


async def test_of_a_workflow_that_is_not_served_operators_only_send_signals(run_api: RunApi):
    run_api.change(ADAS_RUN, workflow="gone")
    assert (await send(run_api, ADAS_RUN, "ada", json={})).json()["code"] == "forbidden"
    assert (await send(run_api, ADAS_RUN, "gil", json={})).status_code == 202


async def test_a_signal_is_kept_with_its_sender_and_its_body_and_noted_without_it(run_api: RunApi):
    with capture_logs() as logs:
        answer = await send(run_api, ADAS_RUN, "ada", json={"secret": "marker"})
    assert (answer.status_code, answer.json()) == (202, {"name": "go", "sent_at": "2026-01-01T12:01:00.000Z"})
    (row,) = kept(run_api)
    assert (row.name, row.body, row.size) == ("go", '{"secret":"marker"}', 19)
    assert '"Ada' in row.sent_by
    assert [line["event"] for line in logs][-1:] == ["signal-sent"]
    (event,) = run_api.audit.take()
    assert set(event.fields) == set(FIELDS[Kind.SIGNAL_SENT])
    assert (event.kind, event.fields["signal"], event.fields["run"]) == (Kind.SIGNAL_SENT, "go", ADAS_RUN)
    assert "marker" not in f"{logs}{event}"


async def test_the_id_of_an_anonymous_callers_run_is_in_no_log(run_api: RunApi):
    with capture_logs() as logs:
        await send(run_api, ANONYMOUS_RUN, "gil", json=1)
    (event,) = run_api.audit.take()
    assert ANONYMOUS_RUN not in f"{logs}{event}"


async def test_a_repeated_request_gets_the_same_answer_and_arrives_once(run_api: RunApi):
    key = {"Idempotency-Key": "k1"}
    answers = [await send(run_api, ADAS_RUN, "ada", json={"n": 1}, headers=key) for _ in range(2)]
    with run_api.engine.begin() as connection:
        connection.execute(update(durable_runs).values(phase="ended"))
    answers.append(await send(run_api, ADAS_RUN, "ada", json={"n": 1}, headers=key))
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert len(kept(run_api)) == 1
    assert len(run_api.audit.take()) == 1
    other = await send(run_api, ADAS_RUN, "ada", json={"n": 2}, headers=key)
    elsewhere = await send(run_api, ADAS_RUN, "ada", name="stop", json={"n": 1}, headers=key)
    assert {answer.json()["code"] for answer in (other, elsewhere)} == {"idempotency-key-reused"}
    assert "k1" not in str(kept(run_api))


async def test_the_keys_of_two_callers_are_two_keys(run_api: RunApi):
    key = {"Idempotency-Key": "k1"}
    answers = [await send(run_api, ADAS_RUN, who, json=who, headers=key) for who in ("ada", "gil")]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len(kept(run_api)) == 2


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{"}, 400, "invalid-json"),
        ({"content": b"NaN"}, 400, "invalid-json"),
        ({"content": b"\xff"}, 400, "invalid-json"),
        ({"content": b'"\\ud800"'}, 400, "invalid-json"),
        ({"json": "x" * MOST_BODY}, 413, "body-too-large"),
        ({"content": b"[" + b"1," * (MAX_ELEMENTS - 9000) + b"1]"}, 202, None),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
        ({"content": b"", "headers": {"Content-Type": "text/plain"}}, 202, None),
        ({"json": {}, "name": "Go"}, 400, "invalid-path"),
        ({"json": {}, "name": "a--b"}, 400, "invalid-path"),
        ({"json": {}, "name": "x" * 101}, 400, "invalid-path"),
        ({"json": {}, "headers": {"Idempotency-Key": ""}}, 400, "bad-idempotency-key"),
        ({"json": {}, "headers": {"Idempotency-Key": "x" * 256}}, 400, "bad-idempotency-key"),
    ],
)
async def test_what_is_no_signal_is_a_problem(run_api: RunApi, request_: dict[str, Any], status: int, code: str | None):
    more = {**request_, "headers": {"Content-Type": "application/json", **request_.get("headers", {})}}
    answer = await send(run_api, ADAS_RUN, "ada", **more)
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text


@pytest.mark.parametrize(
    ("phase", "status", "code"), [("ended", 409, "run-ended"), (None, 409, "run-not-durable"), ("parked", 202, None)]
)
async def test_the_phase_of_the_run_decides(run_api: RunApi, phase: str | None, status: int, code: str | None):
    with run_api.engine.begin() as connection:
        if phase is None:
            connection.execute(durable_runs.delete())
        else:
            connection.execute(update(durable_runs).values(phase=phase))
    answer = await send(run_api, ADAS_RUN, "ada", json={})
    assert (answer.status_code, answer.json().get("code")) == (status, code)


async def test_a_flood_ends_at_the_bound(run_api: RunApi):
    row = {"run_id": ADAS_RUN, "name": "x", "sent_at": 1.0, "sent_by": "{}", "size": 2, "body": "{}"}
    add(run_api.engine, signals, *({**row, "id": f"s{number}"} for number in range(MOST + RESERVED)))
    answer = await send(run_api, ADAS_RUN, "ada", json={})
    assert (answer.status_code, answer.json()["code"]) == (429, "too-many-signals")


async def test_a_get_sends_nothing(run_api: RunApi):
    answer = await run_api.get(f"/runs/{ADAS_RUN}/signals/go", "ada")
    assert answer.status_code == 405
    assert kept(run_api) == []
