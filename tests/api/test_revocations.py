"""`/revocations` over HTTP: who may use it, what it takes and gives, and what it does to the caller's token."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postern.local_tenant import LocalTenant
from tests.api.installations import RUNNING, RunApi, open_run_api
from tests.api.records import ADA, LISA

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PATH = "/revocations"
OPERATOR = "listed operator"
BY_PERSON = {"subject": ADA, "kind": "caller"}


@pytest.fixture
async def run_api(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[RunApi]:
    """The API on a journal of its own."""
    async with open_run_api(tmp_path, local_tenant) as run_api:
        yield run_api


async def made(run_api: RunApi, **changes: Any) -> dict[str, Any]:
    answer = await run_api.ask("POST", PATH, OPERATOR, BY_PERSON | changes)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"{PATH}/{document['id']}"
    return document


@pytest.mark.parametrize(("who", "status"), [("", 401), ("garbage", 401), ("ada", 403), ("operator at other", 403)])
@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", PATH), ("DELETE", f"{PATH}/x")])
async def test_only_operators_may(run_api: RunApi, who: str, status: int, method: str, path: str):
    answer = await run_api.ask(method, path, who, BY_PERSON if method == "POST" else None)
    assert answer.status_code == status
    assert (await run_api.get(PATH, OPERATOR)).json() == {"revocations": [], "next": None}


async def test_a_revoked_person_gets_401_with_the_time_to_wait_and_others_do_not(run_api: RunApi):
    assert (await run_api.get("/runs", "ada")).status_code == 200
    await made(run_api)
    answer = await run_api.get("/runs", "ada")
    assert answer.status_code == 401
    assert 290 < int(answer.headers["Retry-After"]) <= 300
    assert "An operator ended the access of this person" in answer.json()["detail"]
    assert (await run_api.get("/runs", "lisa")).status_code == 200


async def test_the_response_says_until_when_and_what_goes_on(run_api: RunApi):
    document = await made(run_api, for_seconds=8 * 3600, reason="stolen laptop")
    assert document["runs_in_progress"] == [RUNNING]
    assert document["shared_connections"] == document["signed_urls"] == []
    assert document["in_effect"]
    assert document["reason"] == "stolen laptop"
    assert document["accepted_again_at"] == document["bars_until"]
    assert document["made_by"]["object_id"]
    assert document["lifted_by"] is None


async def test_what_is_taken_back_counts_no_more_and_stays_on_record(run_api: RunApi):
    document = await made(run_api)
    lifted = await run_api.ask("DELETE", f"{PATH}/{document['id']}", OPERATOR)
    assert lifted.status_code == 200
    assert not lifted.json()["in_effect"]
    assert (await run_api.get("/runs", "ada")).status_code == 200
    assert (await run_api.get(PATH, OPERATOR)).json()["revocations"] == []
    assert [each["id"] for each in (await run_api.get(f"{PATH}?all=true", OPERATOR)).json()["revocations"]] == [
        document["id"]
    ]


async def test_the_list_has_pages(run_api: RunApi):
    ids = [(await made(run_api, subject=f"{LISA[:-1]}{number}"))["id"] for number in range(3)]
    first = (await run_api.get(f"{PATH}?limit=2", OPERATOR)).json()
    second = (await run_api.get(f"{PATH}?limit=2&cursor={first['next']}", OPERATOR)).json()
    assert [each["id"] for each in first["revocations"] + second["revocations"]] == ids[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        *("all=yes", "limit=0", "limit=x", "limit=201", "cursor=x", "other=1", "limit=\u0663", "limit=1&limit=2"),
        *("limit=000000001999", "limit=00000000199999999999999999999", f"limit=000000001{'0' * 5000}"),
    ],
)
async def test_a_parameter_that_is_not_valid_is_named(run_api: RunApi, query: str):
    answer = await run_api.get(f"{PATH}?{query}", OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-filter")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "subject"),
        ({"subject": 1}, "subject"),
        (BY_PERSON | {"kind": "person"}, "kind"),
        (BY_PERSON | {"kind": None}, "kind"),
        (BY_PERSON | {"for_seconds": "8h"}, "for_seconds"),
        (BY_PERSON | {"for_seconds": True}, "for_seconds"),
        (BY_PERSON | {"for_seconds": 10**400}, "for_seconds"),
        (BY_PERSON | {"for_seconds": -(10**400)}, "for_seconds"),
        (BY_PERSON | {"confirm": 1}, "confirm"),
        (BY_PERSON | {"other": 1}, "other"),
        (BY_PERSON | {"subject": "ada@example.com"}, "subject"),
    ],
)
async def test_a_body_that_is_not_valid_revokes_nobody(run_api: RunApi, body: dict[str, Any], where: str):
    answer = await run_api.ask("POST", PATH, OPERATOR, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")
    assert [each["where"] for each in answer.json()["errors"]] == [where]
    assert (await run_api.get(PATH, OPERATOR)).json()["revocations"] == []


async def test_a_body_that_is_no_object_is_refused(run_api: RunApi):
    assert (await run_api.ask("POST", PATH, OPERATOR, [1])).json()["code"] == "invalid-body"


async def test_the_server_finds_out_what_an_id_is_if_its_records_say(run_api: RunApi):
    answer = await run_api.ask("POST", PATH, OPERATOR, {"subject": ADA})
    assert answer.json()["kind"] == "caller"
    unknown = await run_api.ask("POST", PATH, OPERATOR, {"subject": f"{ADA[:-4]}dead"})
    assert (unknown.status_code, unknown.json()["errors"][0]["where"]) == (400, "kind")


async def test_an_operator_confirms_to_end_their_own_access(run_api: RunApi):
    own = {"subject": run_api.local.directory.people["gil"].object_id, "kind": "caller"}
    refused = await run_api.ask("POST", PATH, OPERATOR, own)
    assert (refused.status_code, refused.json()["code"]) == (409, "confirmation-required")
    assert (await run_api.ask("POST", PATH, OPERATOR, own | {"confirm": True})).status_code == 201
    assert (await run_api.get("/runs", OPERATOR)).status_code == 401
