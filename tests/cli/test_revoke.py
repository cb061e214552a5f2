"""`postern revoke`: whom it sends to the server, and what it says of the response."""

import json

import pytest
from starlette.responses import JSONResponse

from postern.ids import new_id
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper, revocation, signed_url

pytestmark = pytest.mark.network
CLIENT = "20e1dc88-0b78-47d6-9f75-37555320aa3c"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (("lisa",), {"kind": "caller"}),
        (("LISA-ID",), {}),
        (("LISA-ID", "--person"), {"kind": "caller"}),
        ((CLIENT.upper(), "--client"), {"subject": CLIENT, "kind": "client"}),
        (("--token", "Abc-123_x"), {"subject": "Abc-123_x", "kind": "token"}),
        (("lisa", "--for", "8h"), {"kind": "caller", "for_seconds": 28800.0}),
        (("lisa", "--reason", "stolen", "--yes"), {"kind": "caller", "reason": "stolen", "confirm": True}),
        (("lisa", "--tenant", CLIENT), {"kind": "caller", "tenant_id": CLIENT}),
        (("end", "lisa"), {"kind": "caller"}),
    ],
)
def test_what_is_revoked_is_what_the_arguments_say(
    postern: Postern, keeper: Keeper, arguments: tuple[str, ...], body: dict[str, object]
):
    lisa = keeper.tenant.people["lisa"]
    result = postern("revoke", *(lisa if each == "LISA-ID" else each for each in arguments), **keeper.environ)
    assert result.exit_code == 0, result.stderr
    assert keeper.bodies == [{"subject": lisa} | body]
    assert len(result.stdout.split()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody",), "nobody: neither an id nor a name in the table people. It has"),
        (("lisa", "--token", "x"), "one of them"),
        (("--reason", "why"), "one of them"),
        (("lisa", "--client", "--person"), "an id is one of them"),
        (("lisa", "--for", "soon"), "--for soon: not a valid duration. Write it like 30m, 8h or 2d."),
        (("lisa", "--for", "0h"), "not a valid duration"),
        (("lisa", "--client"), "give the client id of the application"),
        (("--json",), "revoke list` lists revocations"),
        (("lift", "1"), "is not the id of a revocation"),
    ],
)
def test_what_is_not_clear_revokes_nobody(postern: Postern, keeper: Keeper, arguments: tuple[str, ...], says: str):
    result = postern("revoke", *arguments, **keeper.environ)
    assert (result.exit_code, says in result.stderr) == (2, True), result.stderr
    assert keeper.requests == []


def test_the_operator_is_told_what_goes_on_and_how_to_take_it_back(postern: Postern, keeper: Keeper):
    run = new_id()
    made = revocation(name="lisa", runs_in_progress=[run], shared_connections=["crm"], signed_urls=[signed_url()])
    keeper.answer = JSONResponse(made, 201)
    said = postern("revoke", "lisa", **keeper.environ).stderr
    assert "New tokens are accepted from 2026-01-31T10:05:00.000Z on: Entra dates tokens 5 minutes back." in said
    assert f"runs cancel {run}" in said
    assert "connections disconnect crm" in said
    assert "link orders --revoke partner-x" in said
    assert f"revoke lift {made['id']}" in said
    keeper.answer = JSONResponse(made | {"bars_until": "2026-01-31T18:00:00.000Z"}, 201)
    assert "New tokens are refused too, until 2026-01-31T18" in postern("revoke", "lisa", **keeper.environ).stderr


def test_the_last_operator_needs_a_word_more(postern: Postern, keeper: Keeper):
    refused = postern("revoke", "ada", **keeper.environ)
    assert (refused.exit_code, "With --yes" in refused.stderr) == (1, True)
    assert postern("revoke", "ada", "--yes", **keeper.environ).exit_code == 0


def test_only_operators_revoke(postern: Postern, keeper: Keeper):
    refused = postern("revoke", "ada", "--as", "lisa", **keeper.environ)
    assert (refused.exit_code, "Postern.Operator" in refused.stderr) == (1, True)


def test_without_arguments_it_lists_what_is_in_effect(postern: Postern, keeper: Keeper):
    assert "No revocation is in effect." in postern("revoke", **keeper.environ).stderr
    keeper.revocations = [revocation(name="lisa"), revocation(kind="token", subject="uti", in_effect=False)]
    listed = postern("revoke", **keeper.environ).stdout
    assert "lisa, caller ed1bf663" in listed
    assert "stolen laptop" in listed
    assert "token uti" in listed
    assert keeper.requests[-1] == ("GET /revocations", {"limit": "50"})
    shown = postern("revoke", "list", "--all", "--json", **keeper.environ)
    assert [each["kind"] for each in json.loads(shown.stdout)["revocations"]] == ["caller", "token"]
    assert keeper.requests[-1] == ("GET /revocations", {"limit": "50", "all": "true"})


def test_a_revocation_is_taken_back_by_its_id(postern: Postern, keeper: Keeper):
    keeper.revocations = [revocation(name="lisa")]
    result = postern("revoke", "lift", keeper.revocations[0]["id"], **keeper.environ)
    assert (result.exit_code, "lisa, caller" in result.stderr) == (0, True)
    unknown = postern("revoke", "lift", new_id(), **keeper.environ)
    assert (unknown.exit_code, "There is no such revocation." in unknown.stderr) == (1, True)
