"""The examples and recipes of the pages for authors do what the pages say, for requests in each sender's own form."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import pytest

from postern.http_client import Response
from postern.testing import app, call, connections, secrets, triggers, user
from postern.testing.project import ADDRESS
from postern.testing.session import SESSION
from tests.authoring.author_project import ROOM, SECRET, serving


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One application for all of them."""
    with serving(tmp_path_factory.mktemp("author")):
        yield


def test_none_of_them_has_a_likely_mistake():
    snapshot = SESSION.server.app.catalog.snapshot
    assert len(snapshot.triggers) > 15
    assert [each for trigger in snapshot.triggers.values() for each in trigger.advice] == []


def test_a_typed_body_is_checked():
    order = {"item": "pen", "count": 10}
    assert call("quote-price", as_=user("ada"), json=order).json() == {"item": "pen", "price": "95.00"}
    refused = call("quote-price", as_=user("ada"), json=order | {"count": 0})
    assert (refused.status, refused.json()["errors"][0]["where"]) == (400, "/count")


OWN_TESTS = run_path(str(ROOM / "first_steps" / "tests" / "test_quote_price.py"))


@pytest.mark.parametrize("name", [name for name in OWN_TESTS if name.startswith("test_")])
def test_the_tests_of_the_page_pass(name: str):
    OWN_TESTS[name]()


def test_who_may_call():
    assert call("close-month", as_=user("lisa")).json().startswith("closed by")
    assert call("close-month", as_=user("zoe")).refused == "listed"
    assert call("import-rates", as_=app("erp", roles=["Workflow.Run"])).status == 200
    assert call("import-rates", as_=app("erp")).status == 401


def test_a_problem_of_your_own():
    assert call("reserve-seat", as_=user("ada"), path="/seats/4").status == 201
    taken = call("reserve-seat", as_=user("ada"), path="/seats/7")
    assert (taken.status, taken.json()["code"], taken.json()["seat"]) == (409, "seat-taken", 7)


def test_a_step_is_tried_again():
    connections["rates"].get("/rates/EUR").fails(503, then={"currency": "EUR", "rate": 1.1})
    reply = call("exchange-rate", as_=user("ada"), path="/EUR")
    assert reply.json() == {"currency": "EUR", "rate": 1.1}
    assert [step.name for step in reply.steps] == ["fetch"]
    assert [sent.path for sent in connections["rates"].calls] == ["/rates/EUR"] * 2


def test_a_call_of_another_trigger():
    trip = {"city": "Bergen", "people": 2}
    assert call("plan-trip", as_=user("ada"), json=trip).json() == {"city": "Bergen", "price": "19.00"}
    triggers["quote-price"].fails(500, times=9)
    assert call("plan-trip", as_=user("ada"), json=trip).status == 502


def test_a_secret():
    secrets["badge-key"] = "a key"
    signed = call("sign-badge", as_=user("ada")).json()
    assert signed["signature"] == hmac.digest(b"a key", signed["holder"].encode(), "sha256").hex()


def test_a_request_with_the_same_key_runs_once():
    replies = [call("quote-price", as_=user("ada"), json={"item": "pen", "count": 1}, key="order-1") for _ in "12"]
    assert replies[0].headers["x-run-id"] == replies[1].headers["x-run-id"]


def test_a_form_with_a_file():
    sent: dict[str, Any] = {"form": {"amount": "12.50"}, "files": {"picture": ("lunch.png", b"\x89PNG", "image/png")}}
    reply = call("submit-receipt", as_=user("ada"), **sent)
    assert reply.json() == {"amount": "12.50", "file": "lunch.png", "bytes": 4}


def signature_of_github(body: bytes, secret: str) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


@pytest.mark.parametrize(("event", "result"), [("push", {"pushed": "refs/heads/main"}), ("ping", {"ignored": "ping"})])
def test_github(event: str, result: Any):
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    headers = {"X-GitHub-Event": event, **signature_of_github(body, SECRET)}
    sent: dict[str, Any] = {"data": body, "content_type": "application/json"}
    assert call("github-push", headers=headers, **sent).json() == result
    forged = headers | signature_of_github(body, "another")
    assert call("github-push", headers=forged, **sent).refused == "sender-signature"


def test_stripe():
    body = json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}}).encode()
    now = int(time.time())
    signed = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={now},v1={signed}"}
    sent: dict[str, Any] = {"data": body, "content_type": "application/json"}
    assert call("stripe-payment", headers=headers, **sent).json() == {"paid": "pi_1"}
    assert call("stripe-payment", headers={"Stripe-Signature": f"t={now},v1=00"}, **sent).refused == "sender-signature"


class Sender:
    """A sender that has a signed URL of a workflow, made by an operator."""

    def __init__(self, workflow: str) -> None:
        self._server = SESSION.server
        token = {"Authorization": f"Bearer {self._server.token(user('ada'))}"}
        made = self.send("POST", f"/workflows/{workflow}/signed-urls", {}, token)
        assert made.status_code == 201, made.text
        self._url = made.json()["url"].removeprefix(ADDRESS)

    def __call__(self, body: Any = None, *, query: str = "", method: str = "POST", **headers: str) -> Response:
        """The response to a request at this URL, with a query behind its own."""
        return self.send(
            method, self._url + query, body, {name.replace("_", "-"): each for name, each in headers.items()}
        )

    def send(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Response:
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"Content-Type": "application/json"} | headers if content else headers
        return self._server.do(self._server.send(method, url, "127.0.0.1", list(fields.items()), content))


def changes(*states: str) -> dict[str, Any]:
    """Notifications of Microsoft Graph."""
    change = {
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
        "subscriptionExpirationDateTime": "2026-12-01T11:00:00Z",
        "changeType": "created",
        "resource": "users/1/messages/2",
    }
    return {"value": [change | {"clientState": state} for state in states]}


def test_graph_validates_a_subscription():
    reply = Sender("graph-notification")(query="&validationToken=Validation%3A+1%2B2", content_type="text/plain")
    assert (reply.status_code, reply.text) == (200, "Validation: 1+2")
    assert reply.headers["content-type"] == "text/plain"


def test_graph_sends_changes_with_our_state_only():
    secrets["graph-client-state"] = "ours"
    graph = Sender("graph-notification")
    assert graph(changes("ours", "ours")).status_code == 202
    refused: list[Any] = [changes("ours", "x"), changes(), []]
    assert [graph(body).status_code for body in refused] == [403] * 3
    assert call("graph-notification", json=changes("ours")).status == 401


def of_list(state: str) -> Any:
    """A notification of SharePoint."""
    return {
        "value": [
            {
                "subscriptionId": "91779246-afe9-4525-b122-6c199ae89211",
                "clientState": state,
                "expirationDateTime": "2026-12-01T17:27:00.0000000Z",
                "resource": "b9f6f714-9df8-470b-b22e-653855e1c181",
                "tenantId": "00000000-0000-0000-0000-000000000000",
                "siteUrl": "/",
                "webId": "dbc5a806-e4d4-46e5-951c-6344d70b62fa",
            }
        ]
    }


def test_sharepoint_validates_a_subscription_and_sends_changes():
    secrets["sharepoint-client-state"] = "ours"
    sharepoint = Sender("sharepoint-changes")
    reply = sharepoint(query="&validationtoken=0b5a")
    assert (reply.status_code, reply.text, reply.headers["content-type"]) == (200, "0b5a", "text/plain")
    assert sharepoint(of_list("ours")).json() == {"changed": ["b9f6f714-9df8-470b-b22e-653855e1c181"]}
    assert sharepoint(of_list("theirs")).status_code == 403


def test_event_grid_validates_a_subscription_in_its_own_schema():
    code = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"
    event = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/1",
        "subject": "",
        "data": {"validationCode": code, "validationUrl": "https://example.test/validate"},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-11-30T04:23:35Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
    grid = Sender("event-grid")
    reply = grid([event], aeg_event_type="SubscriptionValidation")
    assert (reply.status_code, reply.json()) == (200, {"validationResponse": code})
    assert grid([event, event], aeg_event_type="Notification").json() == {"taken": 2}


def test_event_grid_asks_first_and_sends_cloud_events():
    grid = Sender("event-grid")
    asked = grid(method="OPTIONS", webhook_request_origin="eventgrid.azure.net")
    assert asked.status_code == 200
    assert asked.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert grid(method="OPTIONS", webhook_request_origin="attacker.example").status_code == 403
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "Blob.Created", "data": {}}
    sent: dict[str, Any] = {
        "content_type": "application/cloudevents+json; charset=utf-8",
        "origin": "eventgrid.azure.net",
    }
    assert grid(event, **sent).json() == {"taken": 1}
    batch: dict[str, Any] = sent | {"content_type": "application/cloudevents-batch+json; charset=utf-8"}
    assert grid([event, event], **batch).json() == {"taken": 2}


def test_all_pages_of_graph():
    link = "https://graph.example/groups/7/members?$skiptoken=2"
    pages = [{"value": [{"displayName": "Ada"}], "@odata.nextLink": link}, {"value": [{"displayName": "Lisa"}]}]
    connections["graph"].get("/groups/7/members").replies(pages[0]).replies(pages[1])
    assert call("group-members", as_=user("ada"), path="/7").json() == ["Ada", "Lisa"]
    assert [sent.query for sent in connections["graph"].calls] == [
        {"$select": "displayName", "$top": "100"},
        {"$skiptoken": "2"},
    ]


def test_shared_code():
    assert call("convert-price", as_=user("ada"), json={"amount": "10", "currency": "USD"}).json() == {"euros": "8.00"}


def test_a_package():
    sent: dict[str, Any] = {"data": "a: [1, 2]", "content_type": "application/yaml"}
    assert call("read-feed", as_=user("ada"), **sent).json() == {"a": [1, 2]}
    assert call("read-feed", as_=user("ada"), data="a: [", content_type="application/yaml").status == 400


def test_a_report_by_the_clock():
    connections["rates"].get("/rates/EUR").replies({"rate": 1.1})
    assert call("morning-report", as_=user("ada")).json() == {"started_by": "user", "rate": "1.1"}


def test_a_nightly_report_sends_one_mail():
    connections["orders"].get("/open").replies([{}, {}])
    sent = connections["mail"].post("/send").replies(None)
    assert call("nightly-report", as_=user("ada")).json() == {"orders": 2}
    assert [mail.json() for mail in sent.calls] == [{"text": "2 open orders"}]


def test_a_report_that_fails_starts_the_workflow_that_tells_operators():
    connections["orders"].get("/open").fails(500, times=99)
    sent = connections["mail"].post("/send").replies(None)
    failed = call("nightly-report", as_=user("ada"))
    assert failed.status == 500
    until = time.monotonic() + 10
    while not sent.calls and time.monotonic() < until:
        SESSION.server.do(asyncio.sleep(0.01))
    (mail,) = sent.calls
    assert mail.json() == {"text": f"nightly-report failed in run {failed.headers['x-run-id']}: HTTPStatusError"}


def test_runs_of_one_customer_have_a_key():
    connections["orders"].get("/open").replies([{}])
    assert call("sync-customer", as_=user("ada"), json={"number": "7"}).json() == {"orders": 1}
    key: Any = SESSION.server.app.catalog.snapshot.triggers["sync-customer"].workflow.concurrency_key
    assert key(None, SimpleNamespace(number="7")) == "7"
