"""`/openapi.json` and `/docs`: who is shown what, and how."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from postern.api import docs
from postern.api.local_people import TokenCommand
from postern.assembly import Application, create_app
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.openapi.document import Described
from tests.modules import no_modules_left
from tests.pipeline.pipelines import settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = '''
from pydantic import BaseModel
from postern import Context, anonymous, specific_users, tenant_users, workflow

class Secretive(BaseModel):
    """Only lisa knows of it."""

@workflow(access=anonymous())
async def hello(ctx: Context) -> str:
    """Say <script>alert(1)</script>."""

@workflow(access=tenant_users())
async def all_users(ctx: Context) -> None: ...

@workflow(access=tenant_users(apps=False, guests=False))
async def members(ctx: Context) -> None: ...

@workflow(access=tenant_users(audiences=["api://other"]))
async def other(ctx: Context) -> None: ...

@workflow(access=specific_users("lisa"))
async def payroll(ctx: Context) -> Secretive | None: ...
'''

SEEN = """
                  | hello | all-users | members | other | payroll
no token          | yes   |           |         |       |
ada               | yes   | yes       | yes     |       |
lisa              | yes   | yes       | yes     |       | yes
gil, a guest      | yes   | yes       |         |       |
nightly-report    | yes   | yes       |         |       |
ada at other      | yes   |           |         | yes   |
operator          | yes   | yes       | yes     | yes   | yes
listed operator   | yes   | yes       | yes     | yes   | yes
operator at other | yes   |           |         | yes   |
expired           | 401
ada elsewhere     | 401
other tenant      | 401
garbage           | 401
"""
"""Rows are callers, columns the workflows that they see."""


@asynccontextmanager
async def docs_server(
    folder: Path, local: LocalTenant, local_tokens: TokenCommand | None = None, **settings: Any
) -> AsyncIterator[AsyncClient]:
    """The application behind a client."""
    (folder / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    operators = [local.directory.applications["backup-job"].object_id]
    app = create_app(settings_for(local, folder, operators=operators, **settings), local_tokens=local_tokens)
    async with running(app) as client:
        yield client


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory, local_tenant: LocalTenant) -> AsyncIterator[AsyncClient]:
    """One for all tests: starting and stopping the application takes longer than they do."""
    with no_modules_left():
        async with docs_server(tmp_path_factory.mktemp("docs"), local_tenant) as client:
            yield client


def headers(local: LocalTenant, who: str) -> dict[str, str]:
    """The Authorization header of the caller."""
    token = local.token
    makers: dict[str, Callable[[], str]] = {
        "operator": lambda: token("nightly-report", roles=["Postern.Operator"]),
        "listed operator": lambda: token("backup-job"),
        "gil, a guest": lambda: token("gil"),
        "operator at other": lambda: token("ada", audience="api://other", roles=["Postern.Operator"]),
        "ada at other": lambda: token("ada", audience="api://other"),
        "expired": lambda: token("ada", expired=True),
        "ada elsewhere": lambda: token("ada", wrong_audience=True),
        "other tenant": lambda: token("ada", other_tenant=True),
        "garbage": lambda: "garbage",
    }
    if who == "no token":
        return {}
    return {"Authorization": f"Bearer {makers[who]() if who in makers else token(who)}"}


def shown(answer: Response) -> list[str]:
    return [path.removeprefix("/triggers/") for path in answer.json()["paths"]]


ROWS = [[cell.strip() for cell in line.split("|")] for line in SEEN.strip("\n").splitlines()]


async def test_each_caller_is_shown_what_they_may_use(client: AsyncClient, local_tenant: LocalTenant):
    columns = ROWS[0][1:]
    for who, *cells in ROWS[1:]:
        credentials = headers(local_tenant, who)
        document = await client.get("/openapi.json", headers=credentials)
        page = await client.get("/docs", headers=credentials)
        if cells == ["401"]:
            assert [document.status_code, page.status_code] == [401, 401], who
            assert document.headers["www-authenticate"].startswith("Bearer")
            assert "paths" not in document.json()
            continue
        cells += [""] * (len(columns) - len(cells))
        expected = [name for name, cell in zip(columns, cells, strict=True) if cell]
        assert sorted(shown(document)) == sorted(expected), who
        assert [name for name in columns if f"/triggers/{name}" in page.text] == expected, who
        validate(document.json(), cls=OpenAPIV31SpecValidator)


async def test_the_shown_workflows_are_those_that_the_caller_may_call(client: AsyncClient, local_tenant: LocalTenant):
    for who in ("no token", "ada", "lisa", "gil, a guest", "nightly-report", "ada at other"):
        credentials = headers(local_tenant, who)
        answers = {name: await client.post(f"/triggers/{name}", headers=credentials) for name in ROWS[0][1:]}
        let_in = [name for name, answer in answers.items() if answer.status_code == 200]
        assert sorted(shown(await client.get("/openapi.json", headers=credentials))) == sorted(let_in), who


async def test_models_of_others_are_not_there(client: AsyncClient, local_tenant: LocalTenant):
    for who, there in (("ada", False), ("lisa", True)):
        answer = await client.get("/openapi.json", headers=headers(local_tenant, who))
        assert ("Secretive" in answer.text) is there


async def test_several_or_odd_credentials_are_never_anonymous(client: AsyncClient, local_tenant: LocalTenant):
    token = headers(local_tenant, "lisa")["Authorization"]
    for fields in (
        [("Authorization", token), ("Authorization", token)],
        [("Authorization", "")],
        [("Authorization", "Basic bGlzYTpsaXNh")],
    ):
        assert (await client.get("/openapi.json", headers=fields)).status_code == 401


async def test_a_token_over_plain_http_through_an_unknown_proxy_is_rejected(
    client: AsyncClient, local_tenant: LocalTenant
):
    forwarded = {"X-Forwarded-For": "192.0.2.7"}
    for path in ("/openapi.json", "/docs"):
        answer = await client.get(path, headers=headers(local_tenant, "ada") | forwarded)
        assert (answer.status_code, answer.json()["code"]) == (401, "insecure-transport")
        assert (await client.get(path, headers=forwarded)).status_code == 200


async def test_with_a_local_tenant_all_callers_see_everything(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None
):
    async with docs_server(
        tmp_path,
        local_tenant,
        local_tokens=lambda trigger: f"token {trigger.workflow.name}",
        public_url="http://postern.test",
    ) as client:
        for credentials in ({}, {"Authorization": "Bearer garbage"}):
            assert sorted(shown(await client.get("/openapi.json", headers=credentials))) == sorted(ROWS[0][1:])
            page = await client.get("/docs", headers=credentials)
            assert "$(token payroll)" in page.text


async def test_answers_are_neither_stored_nor_mixed_up(client: AsyncClient):
    for path in ("/openapi.json", "/docs"):
        answer = await client.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "Authorization"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.head(path)).headers["content-length"] == answer.headers["content-length"]
        refused = await client.post(path)
        assert (refused.status_code, refused.json()["code"]) == (405, "method-not-allowed")


async def test_the_page_runs_nothing_but_its_own(client: AsyncClient):
    answer = await client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text


async def test_assets_are_kept_by_browsers_for_ever(client: AsyncClient):
    page = (await client.get("/docs")).text
    names = [part.split('"')[0] for part in page.split('"docs/')[1:]]
    assert len(names) == 2
    for name in names:
        answer = await client.get(f"/docs/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in ("text/css", "text/javascript")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "immutable" in answer.headers["cache-control"]
    for name in ("docs.html", "docs.css", "..%2fdocs.css", ""):
        assert (await client.get(f"/docs/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("postern.test:8443", "http://postern.test:8443"),
        ("[::1]:80", "http://[::1]:80"),
        ('x"><script>', "/"),
        ("a b", "/"),
    ],
)
async def test_it_repeats_the_address_of_the_request(client: AsyncClient, host: str, address: str):
    for _ in range(2):
        document = (await client.get("/openapi.json", headers={"Host": host})).json()
        assert document["servers"] == [{"url": address}]
    page = (await client.get("/docs", headers={"Host": host})).text
    assert "own-address" not in page
    assert f"&#39;{address.rstrip('/')}/triggers/hello&#39;" in page


async def test_the_public_address_wins(tmp_path: Path, local_tenant: LocalTenant, own_modules: None):
    async with docs_server(tmp_path, local_tenant, public_url="https://flows.example/p") as client:
        answer = await client.get("/openapi.json", headers={"Host": "evil.example"})
        assert answer.json()["servers"] == [{"url": "https://flows.example/p"}]
        assert "evil" not in (await client.get("/docs", headers={"Host": "evil.example"})).text


async def test_a_document_is_made_once_for_those_who_may_see_the_same(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
):
    made: list[frozenset[str]] = []
    document = Described.document

    def counted(self: Described, names: Any = None) -> Any:
        made.append(names)
        return document(self, names)

    monkeypatch.setattr(Described, "document", counted)
    who = ("no token", "ada", "lisa", "gil, a guest", "nightly-report")
    credentials = [headers(local_tenant, each) for each in who] * 5
    async with docs_server(tmp_path, local_tenant) as client:
        await asyncio.gather(*(client.get("/openapi.json", headers=each) for each in credentials))
        await client.get("/openapi.json")
    assert sorted(len(names) for names in made) == [1, 2, 3, 4]


async def test_what_is_kept_has_a_bound(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []

    def large(*_: Any, **__: Any) -> str:
        made.append("x" * (docs.MAX_KEPT // 2 + 1))
        return made[-1]

    monkeypatch.setattr(docs, "page", large)
    async with docs_server(tmp_path, local_tenant) as client:
        for who in ("no token", "no token", "ada", "no token", "no token"):
            assert (await client.get("/docs", headers=headers(local_tenant, who))).status_code == 200
    assert len(made) == 3


async def test_a_changed_folder_has_other_documents(tmp_path: Path, local_tenant: LocalTenant, own_modules: None):
    (tmp_path / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path))
    async with running(app) as client:
        before = (await client.get("/openapi.json")).json()
        more = "from postern import anonymous, workflow\n@workflow(access=anonymous())\nasync def more(ctx): ...\n"
        (tmp_path / "more.py").write_text(more, encoding="utf-8")
        app.catalog.load()
        after = (await client.get("/openapi.json")).json()
    assert set(after["paths"]) - set(before["paths"]) == {"/triggers/more"}
    assert after["info"]["version"] != before["info"]["version"]


async def test_a_workflow_that_is_no_longer_open_is_not_shown(
    tmp_path: Path, local_tenant: LocalTenant, own_modules: None
):
    text = "from postern import anonymous, specific_users, workflow\n@workflow(access={})\nasync def more(ctx): ...\n"
    (tmp_path / "more.py").write_text(text.format("anonymous()"), encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path))
    async with running(app) as client:
        assert shown(await client.get("/openapi.json")) == ["more"]
        assert "/triggers/more" in (await client.get("/docs")).text
        (tmp_path / "more.py").write_text(text.format("specific_users('lisa')"), encoding="utf-8")
        app.catalog.load()
        assert shown(await client.get("/openapi.json")) == []
        assert "/triggers/more" not in (await client.get("/docs")).text
        assert shown(await client.get("/openapi.json", headers=headers(local_tenant, "lisa"))) == ["more"]
