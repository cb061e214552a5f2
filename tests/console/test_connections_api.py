"""`/connections` of the run API: states, links and ends of grants, by tokens."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from postern.http_client import Response
from postern.local_tenant import LocalTenant
from tests.console.consents import Installation, installation
from tests.console.consoles import Browser

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture(scope="module")
async def closed(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """The console is for operators only, and at a path of https."""
    folder = tmp_path_factory.mktemp("api")
    async with installation(local_tenant, folder, console="operators") as made:
        yield made


@pytest.fixture
async def at(closed: Installation) -> Installation:
    for emptied in ("grants", "invitations"):
        closed.console.execute(f"DELETE FROM {emptied}")
    return closed


class Api:
    """A client with the token of a person or an application."""

    def __init__(self, at: Installation, who: str, **claims: Any) -> None:
        self._client = at.console.browser().client
        self._headers = {"authorization": f"Bearer {at.tenant.token(who, **claims)}"} if who else {}

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        return await self._client.request(method, path, json=body, headers={**self._headers, **headers})

    async def connections(self) -> dict[str, Any]:
        answered = await self("GET", "/connections")
        assert answered.status_code == 200, answered.text
        return {each["name"]: each for each in answered.json()["connections"]}


@pytest.fixture
async def lisa(at: Installation) -> Browser:
    return await at.console.signed_in("lisa", "/connect")


async def test_a_person_sees_what_they_can_connect_with_the_state_of_their_own_grant(at: Installation, lisa: Browser):
    api = Api(at, "lisa")
    before = await api.connections()
    assert sorted(before) == ["named", "notes", "tickets"]
    assert before["tickets"]["grant"]["state"] == "Needed"
    await at.connect(lisa)
    after = (await api.connections())["tickets"]
    assert after["connect_url"] == f"{at.console.address}/connect/tickets"
    assert after["grant"]["state"] == "Connected"
    assert after["grant"]["granted_scopes"] == ["read", "write"]
    assert [each["what"] for each in after["grant"]["history"]] == ["connected"]
    assert "owners" not in after


async def test_the_grant_of_one_person_is_not_there_for_another(at: Installation, lisa: Browser):
    """Ada is an operator: she sees that there is one, and in which state. An application has none."""
    await at.connect(lisa)
    ada = (await Api(at, "ada").connections())["tickets"]
    assert ada["grant"]["state"] == "Needed"
    assert ada["grant"]["message"] == "It is not connected. You must sign in at the provider once."
    assert [each["owner"] for each in ada["owners"]] == [at.owner("lisa")]
    assert ada["counts"] == {"Connected": 1}
    assert set(ada["owners"][0]) == {"owner", "state", "reason", "message", "ends_at", "connected_at", "used_at"}
    gil = Api(at, "gil")
    assert (await gil.connections())["tickets"]["grant"]["state"] == "Needed"
    for path in ("/connections/tickets", f"/connections/tickets?for={at.tenant.people['lisa']}"):
        assert (await gil("DELETE", path)).status_code == 404
    assert await Api(at, "nightly-report").connections() == {}
    assert (await Api(at, "nightly-report")("DELETE", "/connections/tickets")).status_code == 404
    assert len(at.grants()) == 1


async def test_a_person_ends_their_own_grant_and_an_operator_any(at: Installation, lisa: Browser):
    await at.connect(lisa)
    ended = await Api(at, "lisa")("DELETE", "/connections/tickets")
    assert (ended.status_code, ended.json()) == (
        200,
        {"name": "tickets", "ended_at_provider": True, "message": None},
    )
    assert (await Api(at, "lisa")("DELETE", "/connections/tickets")).status_code == 404
    await at.connect(lisa)
    ada = Api(at, "ada")
    assert (await ada("DELETE", "/connections/tickets")).status_code == 404
    for wrong in ("for=x", "for=", "for=a&for=b", "of=x"):
        assert (await ada("DELETE", f"/connections/tickets?{wrong}")).status_code in (400, 404)
    for written in (str.lower, str.upper):
        await at.connect(lisa)
        ended = await ada("DELETE", f"/connections/tickets?for={written(at.tenant.people['lisa'])}")
        assert ended.status_code == 200
        assert at.grants() == []


async def test_what_the_provider_cannot_end_is_said(at: Installation, lisa: Browser):
    await at.connect(lisa, "notes")
    ended = (await Api(at, "lisa")("DELETE", "/connections/notes")).json()
    assert ended["ended_at_provider"] is False
    assert ended["message"]


async def test_a_shared_connection_is_ended_by_operators(at: Installation):
    ada = await at.console.signed_in("ada")
    await at.connect(ada, "shared")
    shown = (await Api(at, "ada").connections())["shared"]
    assert shown["grant"]["state"] == "Connected"
    assert "owners" not in shown
    assert (await Api(at, "lisa")("DELETE", "/connections/shared")).status_code == 404
    assert (
        await Api(at, "ada")("DELETE", f"/connections/shared?for={'0' * 8}-0000-0000-0000-{'0' * 12}")
    ).status_code == 404
    assert (await Api(at, "ada")("DELETE", "/connections/shared")).status_code == 200


async def test_an_application_that_is_an_operator_ends_grants_and_has_none(at: Installation, lisa: Browser):
    job = Api(at, "nightly-report", roles=["Postern.Operator"])
    await at.connect(lisa)
    listed = await job.connections()
    assert "grant" not in listed["tickets"]
    assert listed["tickets"]["counts"] == {"Connected": 1}
    assert listed["shared"]["grant"]["state"] == "Needed"
    for path in ("/connections/tickets", "/connections/shared"):
        assert (await job("DELETE", path)).status_code == 404
    assert (await job("DELETE", f"/connections/tickets?for={at.tenant.people['lisa']}")).status_code == 200
    assert at.grants() == []


async def test_an_operator_ends_what_is_left_of_an_entry_that_was_shared_or_was_not(at: Installation, lisa: Browser):
    """After `per_user` was changed nobody uses these grants, and the server would renew them for ever."""
    ada = await at.console.signed_in("ada")
    await at.connect(ada, "shared")
    at.console.execute("UPDATE grants SET connection = 'notes'")
    await at.connect(lisa)
    at.console.execute("UPDATE grants SET connection = 'shared' WHERE connection = 'tickets'")
    people = "/console/connections/connections.notes/people"
    assert "shared by all, from before per_user" in (await ada.get(people)).text
    assert "is ended here" in (await ada.post(f"{people}/end", data={"owner": "/"})).text
    assert (await Api(at, "lisa")("DELETE", f"/connections/shared?for={at.tenant.people['lisa']}")).status_code == 404
    ended = await Api(at, "ada")("DELETE", f"/connections/shared?for={at.tenant.people['lisa']}")
    assert (ended.status_code, at.grants()) == (200, [])


async def test_an_operator_makes_a_link_for_a_person(at: Installation, lisa: Browser):
    made = await Api(at, "ada")("POST", "/connections/tickets/links", {"for": at.tenant.people["lisa"]})
    assert made.status_code == 201
    assert set(made.json()) == {"url", "expires_at"}
    path = made.json()["url"].removeprefix(at.console.address)
    page = (await lisa.get(path)).headers["location"]
    assert (await lisa.get(page)).status_code == 200
    assert made.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("who", "name", "body", "status", "code"),
    [
        ("lisa", "tickets", {"for": "ID"}, 403, "forbidden"),
        ("", "tickets", {"for": "ID"}, 401, "unauthenticated"),
        ("ada", "none", {"for": "ID"}, 404, "unknown-connection"),
        ("ada", "shared", {"for": "ID"}, 409, "connection-shared"),
        ("ada", "tickets", {"for": "lisa"}, 400, "invalid-body"),
        ("ada", "tickets", {"for": 7}, 400, "invalid-body"),
        ("ada", "tickets", {"for": "ID", "more": 1}, 400, "invalid-body"),
        ("ada", "tickets", [], 400, "invalid-body"),
        ("ada", "tickets", {"for": "a" * 5000}, 413, "body-too-large"),
    ],
)
async def test_other_requests_for_a_link_are_rejected(
    at: Installation, who: str, name: str, body: Any, status: int, code: str
):
    if isinstance(body, dict) and body.get("for") == "ID":
        body = {**body, "for": at.tenant.people["lisa"]}
    answered = await Api(at, who)("POST", f"/connections/{name}/links", body)
    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert at.console.execute("SELECT count(*) FROM invitations") == [(0,)]


async def test_no_response_has_a_token(at: Installation, lisa: Browser):
    await at.connect(lisa)
    family = at.provider.families[-1]
    texts = [(await Api(at, who)("GET", "/connections")).text for who in ("lisa", "ada")]
    markers = [family.refresh, *family.access, *(row[0] for row in at.console.execute("SELECT sealed FROM grants"))]
    texts.append((await Api(at, "lisa")("DELETE", "/connections/tickets")).text)
    assert len(markers) == 3
    for marker in markers:
        assert marker not in "".join(texts)


async def test_people_connect_and_decide_also_where_the_console_is_for_operators_only(at: Installation, lisa: Browser):
    """Their pages have no navigation, which would lead to pages that are closed to them."""
    assert (await lisa.get("/console")).status_code == 403
    assert (await lisa.get("/console/connections")).status_code == 403
    for path in ("/connect", "/connect/tickets", "/console/approvals"):
        shown = await lisa.get(path)
        assert shown.status_code == 200
        assert "/console/runs" not in shown.text
        assert "Sign out" in shown.text
    assert (await at.connect(lisa)).status_code == 303
    missing = await lisa.get("/connect/none")
    assert missing.status_code == 404
    assert 'href="/connect"' in missing.text
    ada = await at.console.signed_in("ada")
    assert "/console/runs" in (await ada.get("/connect")).text
