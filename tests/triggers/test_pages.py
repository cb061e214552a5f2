"""The pages for callers leave no code and no check out."""

import re
from pathlib import Path

import pytest
from httpx2 import ASGITransport

import postern.triggers
from postern.access import MCP_ONLY, REVOKED, Guarded, bind, specific_users
from postern.assembly import create_app
from postern.errors import PROBLEMS
from postern.gateway.policy import ORIGIN, policy_of
from postern.http_client import Response, http_client
from postern.identity.token import RULES
from postern.local_tenant import LocalTenant
from postern.triggers.challenge import UNSIGNED
from postern.triggers.rejections import NETWORK
from postern.triggers.secure_transport import CODE
from tests.pipeline.pipelines import settings_for
from tests.table import table

FOLDER = Path(postern.triggers.__file__).parent
TROUBLESHOOTING = (FOLDER / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
CALLERS = (FOLDER / "CALLERS.md").read_text(encoding="utf-8")
ID = "00000000-0000-4000-8000-000000000001"


FORM = "application/x-www-form-urlencoded"
JSON_SENT = ("POST", "/triggers/typed", "", {"Content-Type": "application/json"}, b'{"n": 1}')
WORKFLOWS = """
from pydantic import BaseModel
from postern import anonymous, specific_users, workflow

class Body(BaseModel):
    n: int

@workflow(access=anonymous(), path="/{room}")
async def book_room(ctx, room: int):
    return room

@workflow(access=anonymous(), max_body_bytes=1000)
async def typed(ctx, body: Body):
    return body.n

@workflow(access=specific_users("lisa"))
async def paid(ctx):
    return "paid"
"""


def first_cells(page: str) -> list[str]:
    """The first cell of each row of the page's tables."""
    return [row.split(" | ")[0].strip("| ") for row in page.splitlines() if row.startswith("| ")]


def sections() -> dict[str, str]:
    """The sections of the page by the anchor of their heading; the text before the first one under ""."""
    first, *others = TROUBLESHOOTING.split("\n## ")
    found = {"": first}
    for section in others:
        heading, _, text = section.partition("\n")
        found[re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")] = text
    return found


def seen() -> list[tuple[set[int], set[str], str]]:
    """The rows of the first table: the statuses and codes that people see, and the section to look at."""
    rows = [row.strip("|").split(" | ") for row in sections()[""].splitlines() if row.startswith("| ")][1:]
    return [
        (
            {int(status) for status in re.findall(r"\b[45]\d\d\b", what)},
            set(re.findall(r"`([a-z]+-[a-z-]+)`", what)),
            "".join(re.findall(r"\(#([a-z0-9-]+)\)", where)),
        )
        for what, _, where in rows
    ]


def causes(section: str) -> set[str]:
    """The codes that a section explains."""
    named = {name for cell in first_cells(section) for name in re.findall(r"`([a-z-]+)`", cell)}
    return named | set(re.findall(r"^`([a-z-]+)`:", section, re.MULTILINE))


def where(status: int, code: str) -> set[str]:
    """Where the first table leads to from a reply: by its status, or by its code if a row has it."""
    by_code = {section for _, codes, section in seen() if code in codes}
    return by_code | {section for statuses, codes, section in seen() if status in statuses and not codes}


@table("code", sorted(PROBLEMS))
def test_what_people_see_leads_to_the_cause_of_each_code(code: str):
    """From the status of the reply, by the first table, to a section that explains the code."""
    places = [sections()[place] for place in where(PROBLEMS[code].status, code)]
    assert places
    if code != "unauthenticated":  # its causes are the checks
        assert any(code in causes(place) for place in places)


def test_the_first_table_names_statuses_codes_and_sections_that_there_are():
    assert {status for statuses, _, _ in seen() for status in statuses} - {502} == {
        row.status for row in PROBLEMS.values()
    }
    assert {code for _, codes, _ in seen() for code in codes} <= set(PROBLEMS)
    assert {section for _, _, section in seen()} <= set(sections())


CAUGHT = [
    # what is sent (method, path, who, headers, body), and the same with the cure of the page
    ("401", ("POST", "/triggers/paid", "", {}, b""), ("POST", "/triggers/paid", "lisa", {}, b"")),
    ("401", ("POST", "/triggers/paid", "ada", {}, b""), ("POST", "/triggers/paid", "lisa", {}, b"")),
    ("403", ("GET", "/workflows", "lisa", {}, b""), ("GET", "/workflows", "ada", {}, b"")),
    ("404", ("POST", "/triggers/book_room/7", "", {}, b""), ("POST", "/triggers/book-room/7", "", {}, b"")),
    ("404", ("POST", "/triggers/book-room", "", {}, b""), ("POST", "/triggers/book-room/7", "", {}, b"")),
    ("404", ("POST", "/triggers/book-room/7/", "", {}, b""), ("POST", "/triggers/book-room/7", "", {}, b"")),
    ("404", ("POST", "/book-room/7", "", {}, b""), ("POST", "/triggers/book-room/7", "", {}, b"")),
    ("405", ("GET", "/triggers/book-room/7", "", {}, b""), ("POST", "/triggers/book-room/7", "", {}, b"")),
    ("400", ("POST", "/triggers/typed", "", {"Content-Type": "application/json"}, b"{"), JSON_SENT),
    ("400", ("POST", "/triggers/typed", "", {"Content-Type": "application/json"}, b'{"n": "x"}'), JSON_SENT),
    ("413", ("POST", "/triggers/typed", "", {"Content-Type": "application/json"}, b" " * 2000), JSON_SENT),
    ("415", ("POST", "/triggers/typed", "", {"Content-Type": FORM}, b"n=1"), JSON_SENT),
]


@pytest.mark.anyio
@pytest.mark.process
async def test_from_what_is_seen_the_page_leads_to_the_cure(
    local_tenant: LocalTenant, tmp_path: Path, own_modules: None
):
    """Each reply of a real server is found by its status and code, and the request with the cure gets a 200."""
    (tmp_path / "workflows.py").write_text(WORKFLOWS, encoding="utf-8")
    app = create_app(settings_for(local_tenant, tmp_path, operators=[local_tenant.people["ada"]]))
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://127.0.0.1", transport=ASGITransport(app)) as client,
    ):

        async def ask(method: str, path: str, who: str, headers: dict[str, str], body: bytes) -> Response:
            sent = headers | ({"Authorization": f"Bearer {local_tenant.token(who)}"} if who else {})
            return await client.request(method, path, headers=sent, content=body)

        for status, wrong, right in CAUGHT:
            answer = await ask(*wrong)
            assert str(answer.status_code) == status, wrong
            assert where(answer.status_code, answer.json()["code"]) - {""}, wrong
            assert (await ask(*right)).status_code == 200, right


def test_each_check_of_a_401_has_a_cause_in_the_order_of_the_checks():
    section = TROUBLESHOOTING.split("\n## 401\n")[1].split("\n## ")[0]
    named = [name for cell in first_cells(section) for name in re.findall(r"`([a-z-]+)`", cell)]
    access = specific_users(
        ID, scopes=["s"], roles=["r"], clients=[ID], apps=False, guests=False, agents=False, auth_context="strong"
    )
    policy = bind(access, people={}, tenants=[ID], audiences=["api://x"], auth_contexts={"strong": "c1"})
    assert isinstance(policy, Guarded)
    of_agents = policy_of("madrid", [ID], tenants=[ID], audiences=["api://x"])
    expected = {"credentials", "authorization-header", CODE, "form", NETWORK, REVOKED, ORIGIN, MCP_ONLY, *UNSIGNED}
    requirements = {requirement.name for requirement in (*policy.requirements, *of_agents.requirements)}
    assert sorted(named) == sorted(expected | {rule.name for rule in RULES} | requirements)


def test_each_status_has_a_row_for_callers():
    statuses = {int(status) for cell in first_cells(CALLERS) for status in re.findall(r"\b[45]\d\d\b", cell)}
    assert {row.status for row in PROBLEMS.values()} - statuses == set()
