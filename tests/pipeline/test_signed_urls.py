"""Signed URLs through a whole server: who is let in, what operators do with them, and where a signature never gets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpx2 import ASGITransport
from structlog.testing import capture_logs

from postern.assembly import create_app
from postern.assembly.asgi import Application
from postern.cli.workspace import local_defaults
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.databases import put_sqlite
from tests.pipeline.test_matrix import MATRIX, Forge

pytestmark = [pytest.mark.anyio, pytest.mark.process]

MODULE = """
from postern import Context, anonymous, tenant_users, workflow

@workflow(access=anonymous(signed=True), methods=("GET", "POST"))
async def orders(ctx: Context, body=None):
    request = ctx.request
    return {"query": request.query.multi_items(), "caller": ctx.caller.name, "kind": ctx.caller.kind}

@workflow(access=anonymous(signed=True), path="/rooms/{room}", methods=("GET",))
async def rooms(ctx: Context, room: str):
    return room

@workflow(access=anonymous(), methods=("GET",))
async def open_to_all(ctx: Context):
    return "came in"

@workflow(access=tenant_users(), methods=("GET",))
async def guarded(ctx: Context):
    return "came in"

@workflow(access=anonymous(signed=True), secure_inputs=True)
async def secured(ctx: Context, body=None):
    raise RuntimeError(str(ctx.request.query))

@workflow(access=anonymous(signed=True))
async def fails(ctx: Context, body=None):
    raise RuntimeError(ctx.request.query_string.decode() + str(ctx.request.headers))

@workflow(access=tenant_users())
async def calls(ctx: Context, body=None):
    await ctx.call("orders", {})
"""


@dataclass(frozen=True)
class Server:
    """A running application. `send` is a sender without a token, and `operator` the API as ada sees it."""

    app: Application
    client: AsyncClient
    local: LocalTenant
    folder: Path

    def headers(self, who: str) -> dict[str, str]:
        """The Authorization header of a person."""
        return {"Authorization": f"Bearer {self.local.token(who)}"}

    async def operator(self, method: str, path: str, body: Any = None, who: str = "ada") -> Response:
        """One request to the API."""
        return await self.client.request(method, path, headers=self.headers(who), json=body)

    async def link(self, workflow: str, **wish: Any) -> str:
        """The path and the query of a new signed URL."""
        made = await self.operator("POST", f"/workflows/{workflow}/signed-urls", wish)
        assert made.status_code == 201, made.text
        parts = urlsplit(made.json()["url"])
        return f"{parts.path}?{parts.query}"


@asynccontextmanager
async def serving(local: LocalTenant, patch: pytest.MonkeyPatch, beside: Path | None = None) -> AsyncIterator[Server]:
    """A server; `beside` one of another folder, with the same database."""
    patch.setenv("AZURE_TENANT_ID", local.tenant_id)
    patch.setenv("AZURE_CLIENT_ID", local.applications["postern"].client_id)
    patch.setenv("AZURE_CLIENT_SECRET", local.client_secret("postern"))
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "module.py").write_text(MODULE, encoding="utf-8")
        mine = {
            "workflows": str(folder),
            "database_url": f"sqlite:///{beside}/.journal.db" if beside else put_sqlite(folder / ".journal.db"),
            "public_url": "http://127.0.0.1:8000",
        }
        settings = load_settings({}, folder=folder, defaults={**local_defaults(local), **mine})
        app = create_app(settings, make_secret=lambda secret: local.vault.make(secret, 1_700_000_000))
        assert not app.catalog.snapshot.faults
        async with (
            app.router.lifespan_context(app),
            http_client(base_url="http://127.0.0.1:8000", transport=ASGITransport(app)) as client,
        ):
            yield Server(app, client, local, folder)


@pytest.fixture(scope="module")
async def server(local_tenant: LocalTenant) -> AsyncIterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        async with serving(local_tenant, patch) as opened:
            yield opened


async def test_a_link_opens_its_trigger_and_the_workflow_sees_by_which_link_and_not_how(server: Server):
    """The workflow gets the fixed and the appended parameters, and none of those that every signed URL has."""
    url = await server.link("orders", id="partner-x", **{"with": {"customer": "Åse & Co", "n": "1"}})
    answer = await server.client.post(f"{url}&validationToken=a%20b")
    assert answer.status_code == 200
    assert answer.json() == {
        "query": [["customer", "Åse & Co"], ["n", "1"], ["validationToken", "a b"]],
        "caller": "link partner-x",
        "kind": "anonymous",
    }


async def test_a_link_that_is_revoked_while_a_body_arrives_starts_no_run(server: Server):
    url, began, goes_on = await server.link("orders", id="slow"), asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        began.set()
        await goes_on.wait()
        yield b"{}"

    json = {"Content-Type": "application/json"}
    sending = asyncio.create_task(server.client.post(url, content=slowly(), headers=json))
    await began.wait()
    assert (await server.operator("DELETE", "/workflows/orders/signed-urls/slow")).status_code == 200
    goes_on.set()
    assert (await sending).status_code == 401


async def test_without_a_link_nobody_comes_in_whoever_it_is(server: Server):
    url = await server.link("orders")
    bare = urlsplit(url).path
    assert (await server.client.post(bare)).status_code == 401
    assert (await server.client.post(bare, headers=server.headers("ada"))).status_code == 401
    refused = await server.client.post(url, headers=server.headers("ada"))
    assert refused.status_code == 401
    for answer in (refused, await server.client.post(url)):
        assert answer.headers["referrer-policy"] == "no-referrer"  # a page of a workflow may have links
    assert refused.headers["www-authenticate"] == "Signed-URL"


async def test_no_credential_of_the_access_matrix_opens_it_with_or_without_a_link(server: Server):
    """A link with any Authorization header is a 401, whatever the header has; other headers change nothing."""
    url, forge = await server.link("orders"), Forge(server.local)
    for name, _, credential in MATRIX:
        headers = credential(forge)
        alone = any(field == b"authorization" for field, _ in headers)
        assert (await server.client.post(urlsplit(url).path, headers=headers)).status_code == 401, name
        assert (await server.client.post(url, headers=headers)).status_code == (401 if alone else 200), name


@pytest.mark.parametrize("trigger", ["open-to-all", "guarded"])
async def test_elsewhere_sig_means_nothing(server: Server, trigger: str):
    """An open trigger stays open with any, and an authenticated one does not look at it."""
    sig = urlsplit(await server.link("orders")).query
    for query in (sig, "sig=x", "sig="):
        answer = await server.client.get(f"/triggers/{trigger}?{query}", headers=server.headers("lisa"))
        assert answer.status_code == 200
    answer = await server.client.get(f"/triggers/{trigger}?{sig}")
    assert answer.status_code == (401 if trigger == "guarded" else 200)


async def test_a_link_for_one_path_or_any(server: Server):
    one = await server.link("rooms", path="/rooms/5%20a")
    assert (await server.client.get(one)).json() == "5 a"
    assert (await server.client.get(one.replace("5%20a", "6"))).status_code == 401
    template = await server.link("rooms")
    assert template.startswith("/triggers/rooms/rooms/{room}?")
    for room in ("5", "6"):
        assert (await server.client.get(template.replace("{room}", room))).json() == room


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        ({"key": "third"}, "key"),
        ({"id": "a/b"}, "id"),
        ({"id": ""}, "id"),
        ({"id": "-a"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": "30d"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": 10**9}, "expires_in"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2026-02-30T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "expires_at"),
        ({"expires_in": 5, "no_expiry": True}, "expires_in"),
        ({"no_expiry": "yes"}, "no_expiry"),
        ({"path": "/x"}, "path"),
        ({"with": {"sig": "x"}}, "with"),
        ({"with": {"": "x"}}, "with"),
        ({"with": {"a": 1}}, "with"),
        ({"with": {"a": "x" * 5000}}, "with"),
        ({"with": {str(n): "" for n in range(21)}}, "with"),
        ({"other": 1}, "other"),
        ([], ""),
    ],
)
async def test_a_wish_that_is_not_valid_is_answered_with_what_is_wrong(server: Server, wish: Any, where: str):
    answer = await server.operator("POST", "/workflows/orders/signed-urls", wish)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-body")
    assert [each["where"] for each in answer.json()["errors"]][:1] == [where]


@pytest.mark.parametrize(
    "path", ["rooms/5", "/rooms", "/rooms/..", "/rooms/a%2Fb", "/rooms/å", "/rooms/5?a=b", "/rooms/5#x"]
)
async def test_only_a_path_of_the_workflow_is_signed(server: Server, path: str):
    answer = await server.operator("POST", "/workflows/rooms/signed-urls", {"path": path})
    assert answer.json()["errors"][0]["where"] == "path"


async def test_a_body_is_json_and_short(server: Server):
    at, headers = "/workflows/orders/signed-urls", server.headers("ada")
    sent = partial(server.client.post, at, headers=headers)
    assert (await sent(data={"id": "x"})).status_code == 415
    headers["Content-Type"] = "application/json"
    assert (await sent(content=b" " * 70_000)).status_code == 413
    assert (await sent(content=b'{"with": {"a": "\\ud800"}}')).status_code == 400
    assert (await sent(content=b'{"id": "a", "id": ')).status_code == 400
    assert (await server.operator("POST", f"{at}?key=primary", {})).status_code == 400
    for query in ("limit=1", "cursor=%00", "cursor=a&cursor=b"):
        assert (await server.operator("GET", f"{at}?{query}")).status_code == 400


async def test_only_operators_make_list_and_revoke_links(server: Server):
    at = "/workflows/orders/signed-urls"
    for method, path in (("POST", at), ("GET", at), ("DELETE", f"{at}/partner-x")):
        assert (await server.operator(method, path, {}, who="lisa")).status_code == 403
        assert (await server.client.request(method, path)).status_code == 401


async def test_what_cannot_be_signed_is_said(server: Server):
    make = partial(server.operator, "POST")
    assert (await make("/workflows/nothing/signed-urls", {})).status_code == 404
    assert (await make("/workflows/open-to-all/signed-urls", {})).json()["code"] == "workflow-not-signed"
    await server.link("orders", id="taken")
    assert (await make("/workflows/orders/signed-urls", {"id": "taken"})).json()["code"] == "link-exists"
    assert (await server.operator("DELETE", "/workflows/orders/signed-urls/unknown")).status_code == 404


async def test_a_link_is_listed_used_and_revoked_at_once(server: Server):
    url = await server.link("orders", id="listed", key="secondary", expires_in=60, **{"with": {"n": "1"}})
    at = "/workflows/orders/signed-urls"
    assert (await server.client.post(url)).status_code == 200
    links = (await server.operator("GET", at)).json()
    found = next(each for each in links["signed_urls"] if each["id"] == "listed")
    assert (found["state"], found["key"], found["path"], found["with"]) == ("active", "secondary", None, ["n"])
    assert found["made_by"]["object_id"] == server.local.people["ada"]
    assert links["next"] is None
    gone = (await server.operator("DELETE", f"{at}/listed")).json()
    assert (gone["state"], gone["revoked_by"]["object_id"]) == ("revoked", server.local.people["ada"])
    assert (await server.client.post(url)).status_code == 401
    assert (await server.operator("POST", at, {"id": "listed"})).json()["code"] == "link-exists"


async def test_a_link_that_another_server_process_revoked_is_refused_within_a_second(
    server: Server, local_tenant: LocalTenant
):
    url = await server.link("orders", id="elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        async with serving(local_tenant, patch, server.folder) as other:
            assert (await server.client.post(url)).status_code == 200
            assert (await other.client.post(url)).status_code == 200
            await other.operator("DELETE", "/workflows/orders/signed-urls/elsewhere")
            assert (await other.client.post(url)).status_code == 401
            async with asyncio.timeout(1):
                while (await server.client.post(url)).status_code == 200:
                    await asyncio.sleep(0.05)


async def test_the_record_says_by_which_link_and_is_run_again_by_operators_only(server: Server):
    """Whoever has a link knows the ids of its runs: after the link was revoked, they start nothing by them."""
    url = await server.link("orders", id="recorded", **{"with": {"n": "1"}})
    run_id = (await server.client.post(url + "&more=2", json={"a": 1})).headers["x-run-id"]
    await server.operator("DELETE", "/workflows/orders/signed-urls/recorded")
    record = (await server.operator("GET", f"/runs/{run_id}")).json()
    assert (record["caller"]["kind"], record["caller"]["name"]) == ("anonymous", "link recorded")
    assert (await server.client.get(f"/runs/{run_id}")).status_code == 200
    refused = await server.client.post(f"/runs/{run_id}/resubmit")
    assert (refused.status_code, refused.json()["code"]) == (409, "cannot-resubmit")
    assert (await server.operator("POST", f"/runs/{run_id}/resubmit", who="lisa")).status_code == 409
    again = (await server.operator("POST", f"/runs/{run_id}/resubmit")).json()
    assert again["caller"]["name"] == "link recorded"
    result = await server.client.get(f"/runs/{again['id']}/result")
    assert result.json() == {"query": [["n", "1"], ["more", "2"]], "caller": "link recorded", "kind": "anonymous"}


async def test_keys_of_idempotency_are_apart_for_each_link(server: Server):
    one, other = await server.link("orders"), await server.link("orders")
    key = {"Idempotency-Key": "k"}
    runs = [(await server.client.post(url, headers=key)).headers["x-run-id"] for url in (one, one, other)]
    assert runs[0] == runs[1] != runs[2]


async def test_a_workflow_cannot_be_called_by_another_one(server: Server):
    failed = await server.operator("POST", "/triggers/calls", {})
    assert failed.status_code == 500
    record = (await server.operator("GET", f"/runs/{failed.headers['x-run-id']}")).json()
    assert "accepts signed requests only" in record["error"]["message"]


async def test_only_operators_see_the_trigger_in_the_documents(server: Server):
    shown = (await server.operator("GET", "/openapi.json")).json()
    operation = shown["paths"]["/triggers/orders"]["post"]
    assert operation["security"] == [{"signedUrl": []}]
    assert operation["x-postern-asks"] == ["but a signed URL"]
    assert shown["components"]["securitySchemes"]["signedUrl"]["name"] == "sig"
    for answer in (await server.operator("GET", "/openapi.json", who="lisa"), await server.client.get("/openapi.json")):
        assert "/triggers/open-to-all" in answer.json()["paths"]
        assert "/triggers/orders" not in answer.json()["paths"]
    assert "postern link" in (await server.client.get("/docs", headers=server.headers("ada"))).text


async def test_links_of_the_other_key_never_fail_while_one_is_replaced_under_load(server: Server):
    """Sixteen senders call all the time by the secondary key, while the primary one is replaced again and again."""
    steady = await server.link("orders", key="secondary")
    name, statuses, stop = "postern-url-orders-primary", [], asyncio.Event()

    async def send() -> None:
        while not stop.is_set():
            statuses.append((await server.client.post(steady)).status_code)

    senders = [asyncio.create_task(send()) for _ in range(16)]
    fresh = steady
    for version in range(3):
        stale = await server.link("orders", key="primary")
        server.local.vault.put(name, token_urlsafe(32), 1_700_000_001 + version)
        fresh = await server.link("orders", key="primary")
        assert (await server.client.post(fresh)).status_code == 200
        assert (await server.client.post(stale)).status_code == 401
    stop.set()
    await asyncio.gather(*senders)
    assert len(statuses) > 50
    assert set(statuses) == {200}
    assert (await server.client.post(fresh)).status_code == 200


async def test_no_signature_is_in_any_log_record_metric_error_or_page(server: Server):
    """The marker test: a good one, a bad one, and each where it does not belong."""
    good = await server.link("orders", id="marker", **{"with": {"n": "1"}})
    secured, failing = await server.link("secured"), await server.link("fails")
    signatures = {url.rpartition("sig=")[2] for url in (good, secured, failing)}
    forged = "Zm9yZ2Vk" * 5 + "abc"
    signatures.add(forged)
    seen: list[str] = []
    with capture_logs() as logs:
        for url in (good, secured, failing):
            for query in (url, url + "&validationToken=x", url.rpartition("sig=")[0] + f"sig={forged}"):
                for headers in ({}, server.headers("ada"), {"Referer": query, "Idempotency-Key": "a b"}):
                    answer = await server.client.post(query, headers=headers, json={"a": 1})
                    seen += [answer.text, str(answer.headers)]
        sig = good.rpartition("sig=")[2]
        for path in ("open-to-all", "guarded", "nothing", "orders/x"):
            for name in ("sig", "%73ig", "SIG"):
                answer = await server.client.get(f"/triggers/{path}?{name}={sig}", headers=server.headers("ada"))
                seen += [answer.text, str(answer.headers)]
        async with asyncio.timeout(10):  # refusals are written once a second
            while "link-and-token" not in (await server.operator("GET", "/refusals?limit=200")).text:
                await asyncio.sleep(0.05)
        for path in (
            "/runs?limit=200",
            "/refusals?limit=200",
            "/workflows/orders/signed-urls",
            "/metrics",
            "/openapi.json",
            "/audit",
        ):
            answer = await server.operator("GET", path)
            assert answer.status_code == 200, path
            seen.append(answer.text)
        runs = (await server.operator("GET", "/runs?limit=100")).json()["runs"]
        for each in runs:
            seen.append((await server.operator("GET", f"/runs/{each['id']}")).text)
    seen += [repr(line) for line in logs]
    database = b"".join(path.read_bytes() for path in server.folder.glob(".journal.db*"))
    for signature in signatures:
        assert signature.encode() not in database
        assert not [text for text in seen if signature in text]
    assert any("link marker" in text for text in seen)


async def test_making_and_revoking_one_is_in_the_audit_log_and_the_log(server: Server):
    with capture_logs() as logs:
        await server.link("orders", id="audited")
        for _ in range(2):  # one that is revoked stays as it is
            await server.operator("DELETE", "/workflows/orders/signed-urls/audited")
    async with asyncio.timeout(10):  # events are written once a second
        while "audited" not in (await server.operator("GET", "/audit?kind=signed-url-revoked")).text:
            await asyncio.sleep(0.05)
    assert "audited" in (await server.operator("GET", "/audit?kind=signed-url-made")).text
    events = [
        (line["event"], line["workflow"], line["link"]) for line in logs if line["event"].startswith("signed-url")
    ]
    assert events == [("signed-url-made", "orders", "audited"), ("signed-url-revoked", "orders", "audited")]
