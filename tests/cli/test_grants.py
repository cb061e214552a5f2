"""`postern connections link`, `disconnect` and `reseal`, and the states of grants in the list."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.connections.grants.seal import opened, sealed
from postern.connections.grants.tokens import GrantTokens
from postern.connections.sealing.vault_keys import key_in
from postern.journal.grants import State, break_, owner_of
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.vault import GRANTS_KEY_NAME
from tests.cli.conftest import Postern
from tests.cli.keeper import Keeper
from tests.cli.recorded import closing_engine
from tests.journal.grant_rows import ADA, LISA, NOW, grant, put, stored

pytestmark = pytest.mark.network

TOML = """
[connections.tickets]
base_url = "https://api.github.com"
auth = { type = "oauth2", flow = "authorization_code", identity_provider = "github", client_id = "x", client_secret = { key_vault = "github-app" }, scopes = ["repo"], per_user = true }

[connections.wiki]
base_url = "https://api.github.com"
auth = { type = "oauth2", flow = "authorization_code", identity_provider = "github", client_id = "x", client_secret = { key_vault = "github-app" }, scopes = ["repo"] }

[connections.orders]
base_url = "https://orders.example/v2"
auth = { type = "none" }
"""  # noqa: E501
LATER = 4_000_000_000.0
"""A time that no test lives to see."""


@pytest.fixture(autouse=True)
def written(folder: Path) -> Path:
    """A folder whose postern.toml has entries that people connect."""
    (folder / "postern.toml").write_text(TOML, encoding="utf-8")
    return folder


def states(postern: Postern) -> dict[str, object]:
    listed = json.loads(postern("connections", "--json").stdout)["connections"]
    return {row["name"]: row["grants"] for row in listed if "grants" in row}


def test_the_list_has_the_states_of_grants_from_the_database(postern: Postern, url: str):
    assert states(postern) == {"my-profile": {}, "tickets": {}, "wiki": {"Needed": 1}}
    with closing_engine(url) as engine:
        put(engine, grant(), grant(owner=ADA), grant(owner=owner_of("t", "eve"), refresh_expires_at=NOW))
        put(engine, grant("wiki", "", access_expires_at=LATER, reason="no-refresh-token"), grant("gone"))
        with engine.begin() as connection:
            assert break_(connection, "tickets", ADA, 1, "", "revoked", "", NOW)
    assert states(postern) == {"my-profile": {}, "tickets": {"Broken": 2, "Connected": 1}, "wiki": {"Expiring": 1}}
    result = postern("connections")
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert rows["entry"].rstrip().endswith("grants")
    assert rows["connections.tickets"].rstrip().endswith("1 Connected, 2 Broken")
    assert rows["connections.wiki"].rstrip().endswith("1 Expiring")
    assert rows["connections.my-profile"].rstrip().endswith("nobody yet")
    assert (result.exit_code, "sealed-1" in result.output, "not known" in result.stderr) == (0, False, False)


def test_without_a_database_nobody_has_connected_anything(postern: Postern, folder: Path):
    assert states(postern) == {"my-profile": {}, "tickets": {}, "wiki": {"Needed": 1}}
    assert not (folder / "var" / "postern.db").exists()


def test_a_database_that_cannot_be_read_leaves_the_states_unknown(postern: Postern, folder: Path):
    (folder / "no.db").write_text("this is no database, but a text of more than hundred bytes" * 9)
    result = postern("connections", POSTERN_DATABASE_URL=f"sqlite:///{folder}/no.db")
    assert result.exit_code == 0
    assert "The states of grants are not known: the database of POSTERN_DATABASE_URL cannot be read" in result.stderr
    assert "unknown" in result.stdout


def test_a_link_is_printed_alone_with_its_expiry_beside(postern: Postern, keeper: Keeper):
    lisa = keeper.tenant.people["lisa"]
    for name, who in (("tickets", "lisa"), ("connections.tickets", lisa), ("tickets", lisa.upper())):
        result = postern("connections", "link", name, "--for", who, **keeper.environ)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == "http://127.0.0.1/connect/tickets/invitation/the-secret\n"
        assert f"For {who} only, once, until 2026-01-31T14:00:00Z." in result.stderr
    assert keeper.bodies == [{"for": lisa}] * 3
    assert [path for path, _ in keeper.requests] == ["POST /connections/tickets/links"] * 3
    shown = postern("connections", "link", "tickets", "--for", "lisa", "--json", **keeper.environ)
    assert set(json.loads(shown.stdout)) == {"url", "expires_at"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("link", "orders", "--for", "lisa"), "orders is not an entry that people connect. Those are: my-profile"),
        (("link", "tickts", "--for", "lisa"), "Did you mean tickets?"),
        (("link", "wiki", "--for", "lisa"), "connections.wiki is shared: an operator connects it"),
        (("link", "tickets", "--for", "lsia"), "--for lsia: neither an object id nor a name in the table people."),
        (("link", "tickets"), "Missing option '--for'"),
        (("disconnect", "orders"), "orders is not an entry that people connect."),
        (("disconnect", "tickets", "--for", "nobody"), "--for nobody: neither an object id nor a name"),
    ],
)
def test_what_cannot_be_asked_for_says_what_to_write(
    postern: Postern, keeper: Keeper, arguments: tuple[str, ...], says: str
):
    result = postern("connections", *arguments, **keeper.environ)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert keeper.requests == []


def test_a_grant_is_ended_by_its_owner_and_a_leavers_by_operators(postern: Postern, keeper: Keeper):
    lisa = keeper.tenant.people["lisa"]
    own = postern("connections", "disconnect", "tickets", "--as", "lisa", **keeper.environ)
    assert (own.exit_code, own.stdout) == (0, "")
    assert own.stderr == "connections.tickets is disconnected.\n"
    others = postern("connections", "disconnect", "tickets", "--for", "lisa", **keeper.environ)
    assert (others.exit_code, "Entra cannot end it." in others.stderr) == (0, True)
    shown = postern("connections", "disconnect", "wiki", "--json", **keeper.environ)
    assert json.loads(shown.stdout) == {"name": "wiki", "ended_at_provider": True, "message": None}
    assert keeper.requests == [
        ("DELETE /connections/tickets", {}),
        ("DELETE /connections/tickets", {"for": lisa}),
        ("DELETE /connections/wiki", {}),
    ]


def test_what_is_left_of_an_entry_that_is_gone_is_deleted_after_a_question(postern: Postern, url: str, keeper: Keeper):
    lisa = owner_of("tenant", keeper.tenant.people["lisa"])
    with closing_engine(url) as engine:
        put(engine, grant("gone", lisa), grant("gone", ADA), grant("gone", ""), grant("triggers.pay", ADA), grant())
        declined = postern("connections", "disconnect", "gone", stdin="n\n")
        assert (declined.exit_code, "the database has 3 grants of it" in declined.stderr) == (1, True)
        one = postern("connections", "disconnect", "connections.gone", "--for", "lisa", stdin="y\n")
        assert (one.exit_code, "1 grant deleted." in one.stderr) == (0, True)
        assert {stored(engine, "gone", owner).owner for owner in (ADA, "")} == {ADA, ""}
        for name, deleted in (("gone", "2 grants deleted."), ("triggers.pay", "1 grant deleted.")):
            assert deleted in postern("connections", "disconnect", name, stdin="y\n").stderr
        none = postern("connections", "disconnect", "gone", stdin="y\n")
        assert (none.exit_code, "is not an entry that people connect" in none.stderr) == (2, True)
        assert stored(engine).owner == LISA
    assert keeper.requests == []


def test_what_the_server_refuses_is_an_error(postern: Postern, keeper: Keeper):
    link = postern("connections", "link", "tickets", "--for", "ada", "--as", "lisa", **keeper.environ)
    assert (link.exit_code, link.stdout, "Postern.Operator" in link.stderr) == (1, "", True)
    other = postern("connections", "disconnect", "tickets", "--for", "ada", "--as", "lisa", **keeper.environ)
    assert (other.exit_code, "the server answered 404" in other.stderr) == (1, True)


@pytest.fixture
def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalTenant]:
    """The folder's local tenant, listening."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")  # the command sets them; they go with the test
    tenant = LocalTenant.open(folder / "var" / "local-tenant")
    with serve(tenant):
        yield tenant


def newest(tenant: LocalTenant) -> tuple[str, bytes]:
    """The latest version of the key, which is made anew."""
    tenant.put_secret(GRANTS_KEY_NAME, secrets.token_urlsafe(32))
    found = tenant.vault.versions(GRANTS_KEY_NAME)[-1]
    key = key_in(found.value)
    assert key is not None
    return found.version, key


def test_all_rows_are_sealed_with_the_newest_version_and_those_that_do_not_open_are_named(
    postern: Postern, running: LocalTenant, url: str
):
    version, key = newest(running)
    tokens = GrantTokens("ACCESS-MARKER", "REFRESH-MARKER")
    made = [
        grant(name, owner, sealed=sealed(key, name, owner, tokens), key_version=version)
        for name, owner in (("tickets", LISA), ("tickets", ADA), ("wiki", ""))
    ]
    after, new = newest(running)
    with closing_engine(url) as engine:
        put(engine, *made)
        result = postern("connections", "reseal")
        assert (result.exit_code, result.stdout) == (0, ""), result.stderr
        assert f"3 grants were sealed with version {after} of the key." in result.stderr
        assert "run this again after that time" in result.stderr
        for each in made:
            found = stored(engine, each.connection, each.owner)
            assert (found.key_version, found.generation) == (after, 1)
            assert opened(new, each.connection, each.owner, found.sealed) == tokens
        put(engine, grant("swapped", sealed=made[0].sealed, key_version=version), grant("restored", sealed=""))
        again = postern("connections", "reseal", "--json")
        assert again.exit_code == 1
        assert json.loads(again.stdout) == {
            "key_version": after,
            "resealed": 0,
            "left": 1,
            "unopened": [{"connection": "swapped", "owner": LISA}],
        }
        said = postern("connections", "reseal").stderr
        assert f"swapped, {LISA}: does not open" in said
        assert stored(engine, "swapped").state is State.CONNECTED
    assert "MARKER" not in result.output + again.output + said


def test_without_the_vault_or_the_database_nothing_is_sealed_and_the_fault_says_what_to_do(
    postern: Postern, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")
    away = postern("connections", "reseal")
    assert away.exit_code == 1
    assert f"the secret {GRANTS_KEY_NAME} cannot be read" in " ".join(away.stderr.split())
    assert "runs only with" in away.stderr
    none = postern("connections", "reseal", POSTERN_DATABASE_URL=f"sqlite:///{folder}/none.db")
    assert (none.exit_code, "there is no such file" in none.stderr) == (2, True)
