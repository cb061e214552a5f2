"""Looking callers up in the directory: the local tenant's, and directories that refuse or answer nonsense."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import MockTransport, Request, Response

from postern.access.directory import DirectoryObject
from postern.connections.directory import BATCH, look_up, look_up_with
from postern.http_client import AsyncClient
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings

pytestmark = pytest.mark.anyio

SECRET = {"type": "entra", "client_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "client_secret": {"key_vault": "name"}}
ENTRY: dict[str, Any] = {
    "base_url": "https://graph.microsoft.com/v1.0",
    "auth": {**SECRET, "scopes": ["https://graph.microsoft.com/.default"]},
}
IDS = [f"00000000-0000-4000-8000-{number:012}" for number in range(1, 46)]


def settings(entry: Any = ENTRY, **more: Any) -> Settings:
    tables = {"connections": {"graph": entry}} if entry else {}
    values = {"tenant_id": IDS[0], "key_vault_url": "https://vault.vault.azure.net", "azure_credential": "developer"}
    return load_settings({}, defaults={**values, **tables, **more})


def directory(answer: Callable[[str], tuple[int, Any]], seen: list[Any] | None = None) -> Callable[[str], AsyncClient]:
    """A client of a directory that answers so to each request of a batch."""

    def respond(request: Request) -> Response:
        asked = json.loads(request.content)["requests"]
        if seen is not None:
            seen.append((request.url.path, asked))
        answers = [(each["id"], *answer(each["url"])) for each in asked]
        return Response(200, json={"responses": [{"id": i, "status": s, "body": b} for i, s, b in reversed(answers)]})

    return lambda _: AsyncClient(base_url=ENTRY["base_url"], transport=MockTransport(respond))


async def test_people_and_applications_are_found_by_object_id():
    def answer(url: str) -> tuple[int, Any]:
        object_id = url.split("/")[2].partition("?")[0]
        if url.startswith("/users/") and object_id == IDS[0]:
            return 200, {"id": object_id, "displayName": "Gil", "userType": "Guest", "accountEnabled": True}
        if url.startswith("/servicePrincipals/") and object_id == IDS[1]:
            return 200, {"id": object_id, "displayName": "job", "appId": "ABC", "accountEnabled": False}
        return 404, {"error": {"code": "Request_ResourceNotFound"}}

    seen: list[Any] = []
    found = await look_up_with(IDS, settings(), directory(answer, seen))
    assert found.fault == ""
    assert found.objects[IDS[0]] == DirectoryObject("person", "Gil", guest=True)
    assert found.objects[IDS[1]] == DirectoryObject("application", "job", enabled=False, client_id="abc")
    assert [found.objects[each] for each in IDS[2:]] == [None] * 43
    assert {path for path, _ in seen} == {"/v1.0/$batch"}
    assert max(len(asked) for _, asked in seen) == BATCH


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "may not read /users. Grant it User.Read.All"),
        (429, "answers 429"),
        (500, "answers 500"),
        ("x", "not that of Microsoft Graph"),
    ],
)
async def test_a_directory_that_does_not_answer_is_stated(status: Any, words: str):
    found = await look_up_with(IDS[:2], settings(), directory(lambda _: (status, {})))
    assert found.objects == {}
    assert words in found.fault


@pytest.mark.parametrize("body", [b"", b"[]", b'{"responses": []}', b'{"responses": [{"id": "0", "status": 200}]}'])
async def test_nonsense_is_stated(body: bytes):
    def client(_: str) -> AsyncClient:
        return AsyncClient(base_url=ENTRY["base_url"], transport=MockTransport(lambda _: Response(200, content=body)))

    found = await look_up_with(IDS[:1], settings(), client)
    assert (found.objects, "not that of Microsoft Graph" in found.fault) == ({}, True)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (None, "has no [connections.graph]"),
        ({"base_url": "https://graph.microsoft.com/v1.0", "auth": {"type": "none"}}, "as the application"),
    ],
)
async def test_without_a_connection_as_the_application_nothing_is_asked(entry: Any, words: str):
    def unused(_: str) -> AsyncClient:
        raise AssertionError

    assert words in (await look_up_with(IDS, settings(entry), unused)).fault


@pytest.mark.network
async def test_the_local_tenant_answers_as_graph_does(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    from postern.cli.workspace import export_local_credential, local_settings
    from postern.local_tenant import serve

    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    tenant = LocalTenant.open(tmp_path / "local-tenant")
    people, job = tenant.people, tenant.applications["nightly-report"]
    with serve(tenant):
        export_local_credential(tenant)
        ids = [people["ada"], people["gil"], job.object_id, IDS[0]]
        found = await look_up(ids, local_settings(tenant), tenant.authority)
    assert found.fault == ""
    assert list(found.objects.values()) == [
        DirectoryObject("person", "Ada Okafor"),
        DirectoryObject("person", "Gil Amaro", guest=True),
        DirectoryObject("application", "nightly-report", client_id=job.client_id),
        None,
    ]
