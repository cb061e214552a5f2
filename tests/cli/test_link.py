"""`postern link`: signed URLs, which the server signs."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from postern.cli.first_steps import first_steps
from postern.cli.workspace import workspace
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper

pytestmark = pytest.mark.network

AT = "/workflows/orders/signed-urls"


def test_the_url_is_printed_alone_with_what_it_is_beside(postern: Postern, keeper: Keeper):
    result = postern("link", "orders", **keeper.environ)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "http://127.0.0.1/triggers/orders?sp=x&sv=1.0&se=never&id=x&sig=the-signature\n"
    assert "The link partner-x, until 2026-12-29T10:00:00.000Z." in result.stderr
    assert (keeper.bodies, [path for path, _ in keeper.requests]) == ([{}], [f"POST {AT}"])
    assert "url" in json.loads(postern("link", "orders", "--json", **keeper.environ).stdout)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("--key", "secondary", "--id", "partner-x"), {"key": "secondary", "id": "partner-x"}),
        (("--expires", "30d"), {"expires_in": 30 * 86400}),
        (("--expires", "90s"), {"expires_in": 90}),
        (("--expires", "2w"), {"expires_in": 14 * 86400}),
        (("--expires", "2026-12-31T00:00:00Z"), {"expires_at": "2026-12-31T00:00:00Z"}),
        (("--no-expiry",), {"no_expiry": True}),
        (("--path", "/rooms/5"), {"path": "/rooms/5"}),
        (("--path", ""), {"path": ""}),
        (("--with", "a=1", "--with", "b=x=y", "--with", "c="), {"with": {"a": "1", "b": "x=y", "c": ""}}),
    ],
)
def test_the_options_are_what_the_server_is_asked_for(
    postern: Postern, keeper: Keeper, arguments: tuple[str, ...], asked: dict[str, Any]
):
    assert postern("link", "orders", *arguments, **keeper.environ).exit_code == 0
    assert keeper.bodies == [asked]


def test_the_list_is_whole_and_has_no_url(postern: Postern, keeper: Keeper):
    result = postern("link", "orders", "--list", **keeper.environ)
    rows = result.stdout.splitlines()
    assert rows[0].split()[:4] == ["id", "state", "key", "path"]
    assert [row.split()[:5] for row in rows[1:]] == [[n, "active", "primary", "any", "customer"] for n in "012"]
    assert rows[1].split()[-3:] == ["7", "never", "Ada"]
    assert [
        each["id"]
        for each in json.loads(postern("link", "orders", "--list", "--json", **keeper.environ).stdout)["signed_urls"]
    ] == ["0", "1", "2"]
    assert keeper.requests[:2] == [(f"GET {AT}", {}), (f"GET {AT}", {"cursor": "2"})]


def test_one_is_revoked_by_its_id(postern: Postern, keeper: Keeper):
    result = postern("link", "orders", "--revoke", "partner-x", **keeper.environ)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "The link partner-x is revoked.\n")
    assert keeper.requests == [(f"DELETE {AT}/partner-x", {})]
    shown = postern("link", "orders", "--revoke", "partner-x", "--json", **keeper.environ)
    assert json.loads(shown.stdout)["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--list", "--revoke", "a"), "--list and --revoke stand alone"),
        (("--list", "--id", "a"), "--list and --revoke stand alone"),
        (("--revoke", "a", "--no-expiry"), "--list and --revoke stand alone"),
        (("--with", "a"), "--with a: write NAME=VALUE"),
        (("--with", "=a"), "write NAME=VALUE"),
        (("--expires", "30"), "--expires 30: not a valid time. Write it like 12h or 30d"),
        (("--expires", "0d"), "not a valid time"),
        (("--expires", "2026-12-31"), "not a valid time"),
        (("--with", "a=1", "--with", "a=2"), "each name once"),
    ],
)
def test_what_cannot_be_asked_for_says_what_to_write(
    postern: Postern, keeper: Keeper, arguments: tuple[str, ...], says: str
):
    result = postern("link", "orders", *arguments, **keeper.environ)
    assert (result.exit_code, says in result.stderr, keeper.requests) == (2, True, [])


def test_an_id_that_the_workflow_does_not_have_raises_no_doubt_about_the_server(postern: Postern, keeper: Keeper):
    keeper.answer = JSONResponse({"code": "not-found", "detail": "The workflow has no signed URL of this id."}, 404)
    result = postern("link", "orders", "--revoke", "x", **keeper.environ)
    assert (result.exit_code, "no signed URL of this id" in result.stderr) == (1, True)
    assert "Is this a Postern server" not in result.stderr
    keeper.answer = JSONResponse({"code": "not-found", "detail": "There is nothing at this URL."}, 404)
    assert "Is this a Postern server" in postern("link", "orders", "--revoke", "x", **keeper.environ).stderr


def test_it_is_for_operators(postern: Postern, keeper: Keeper):
    result = postern("link", "orders", "--as", "lisa", **keeper.environ)
    assert (result.exit_code, result.stdout, "Postern.Operator" in result.stderr) == (1, "", True)


SIGNED = """
from postern import Context, anonymous, workflow

@workflow(access=anonymous(signed=True))
async def partner(ctx: Context) -> str:
    return "came in"
"""


def test_the_workflow_is_not_shown_as_open_to_anyone(postern: Postern, folder: Path):
    (folder / "workflows" / "partner.py").write_text(SIGNED, encoding="utf-8")
    rows = [line for line in postern("list").stdout.splitlines() if line.startswith("partner")]
    assert len(rows) == 1
    assert rows[0].rstrip().endswith("anonymous(signed)")
    listed = json.loads(postern("list", "--json").stdout)["workflows"]
    found = next(each for each in listed if each["name"] == "partner")
    assert (found["access"], found["access_detail"]) == ("anonymous", "anonymous(signed)")
    explained = postern("explain", "x", "--workflow", "partner")
    assert (explained.exit_code, "tokens do not open it" in explained.stdout) == (0, True)


def test_the_first_steps_name_no_workflow_that_needs_a_link(postern: Postern, folder: Path):
    for module in (folder / "workflows").glob("*.py"):
        module.unlink()
    (folder / "workflows" / "partner.py").write_text(SIGNED, encoding="utf-8")
    snapshot = workspace().load()
    assert set(snapshot.triggers) == {"partner"}
    assert "curl" not in first_steps(snapshot, "http://127.0.0.1:1", lambda _: "")
