"""The stages of an entry that people connect: each failure has its stage, and no stage renews, writes or shows a
token."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from postern.browser_secrets import is_secret
from postern.connections.faults import ConnectionFault
from postern.connections.grants import trial
from postern.connections.grants.entries import GrantedEntry, granted_entries
from postern.connections.grants.places import place_of
from postern.connections.grants.seal import sealed
from postern.connections.grants.tokens import Access, GrantTokens
from postern.connections.grants.trial import OneToken, Trial, Whose, life_of
from postern.connections.sealing.sealed_text import CannotOpen
from postern.connections.stage import Stage
from postern.connections.vault.secret import Secret
from postern.errors import problem
from postern.http_client import Request
from postern.journal.grants import SHARED, Grant, State
from postern.settings import load_settings
from tests.table import table

if TYPE_CHECKING:
    from postern.connections.auth.sign_in_context import SignInContext
    from postern.connections.grants.provider import Provider

pytestmark = pytest.mark.anyio

NOW = 2_000_000_000.0
KEY = b"k" * 32
LISA = "tenant/lisa"
LOGIN = "https://login.example"
ACCESS, REFRESH = "access-marker", "refresh-marker"
AUTH = {
    "type": "oauth2",
    "flow": "authorization_code",
    "identity_provider": "github",
    "client_id": "Iv1.7",
    "client_secret": {"key_vault": "github-app"},
}
AWAY = ConnectionFault("POSTERN_KEY_VAULT_URL", "does not answer", "Look whether it is reachable")


def entry(*, per_user: bool = True) -> GrantedEntry:
    table = {"tickets": {"base_url": "https://api.github.com", "auth": {**AUTH, "per_user": per_user}}}
    needed = {
        "key_vault_url": "https://vault.example",
        "grants_key_name": "grants-key",
        "azure_credential": "developer",
    }
    return granted_entries(load_settings({}, defaults={"connections": table, **needed}))["tickets"]


def grant(owner: str = LISA, **values: Any) -> Grant:
    """A grant that is connected, with its tokens."""
    place = place_of(entry(per_user=owner != SHARED), LOGIN)
    made = Grant(
        connection="tickets",
        owner=owner,
        account="7",
        account_name="lisa-at-github",
        tenant="",
        scopes=("repo", "user"),
        instance_url="",
        sealed=sealed(KEY, "tickets", owner, GrantTokens(ACCESS, REFRESH, place)),
        key_version="0123456789abcdef",
        generation=4,
        created_by=LISA,
        connected_at=NOW - 3600,
        access_expires_at=NOW + 1830,
    )
    return replace(made, **values)


@dataclass
class World:
    """The vault, the provider and the rows."""

    rows: list[Grant] = field(default_factory=list)
    vault: ConnectionFault | None = None
    secret: ConnectionFault | None = None
    provider: ConnectionFault | None = None
    journal_away: bool = False
    refused: bool = False
    lost_key: bool = False
    asked: list[str] = field(default_factory=list)

    # The key

    async def newest(self) -> tuple[str, bytes]:
        if self.vault is not None:
            raise self.vault
        return "0123456789abcdef", KEY

    async def of(self, version: str) -> bytes:
        if self.lost_key:
            raise CannotOpen("its key is gone")
        return KEY

    # The vault

    async def read_secret(self, name: str) -> Secret:
        if self.secret is not None:
            raise self.secret
        return cast("Secret", SimpleNamespace(name=name, value="client-marker"))

    # The provider

    async def authorization_url(self, redirect_uri: str, state: str, browser_secret: str, claims: str = "") -> str:
        if self.provider is not None:
            raise self.provider
        assert is_secret(state)
        assert is_secret(browser_secret)
        return "https://github.com/login/oauth/authorize?state=" + state

    # The journal

    async def read(self, query: Any) -> Any:
        if self.journal_away:
            raise problem("journal-unavailable")
        self.asked.append(query.func.__name__)
        if query.func.__name__ == "of_connection":
            return self.rows[: query.keywords["limit"]]
        return next((row for row in self.rows if row.owner == query.keywords["owner"]), None), self.refused

    async def stages(self, whose: Whose, *, per_user: bool = True) -> tuple[list[Stage], list[Access]]:
        context = cast(
            "SignInContext", SimpleNamespace(secrets=SimpleNamespace(read=self.read_secret), authority=LOGIN)
        )
        found: list[Access] = []
        of = Trial(entry(per_user=per_user), context, self, cast("Provider", self), self.read, lambda: NOW)
        stages = [stage async for stage in of.stages(whose, found)]
        said = repr(stages)
        assert not [marker for marker in (ACCESS, REFRESH, "client-marker") if marker in said]
        return stages, found


ELSEWHERE = sealed(KEY, "tickets", LISA, GrantTokens(ACCESS, REFRESH, "of the entry as it was before"))
BEFORE = ["key", "client_secret", "provider"]
OF_LISA = Whose(LISA, "lisa")


def passed(stages: list[Stage]) -> list[tuple[str, bool]]:
    return [(stage.name, stage.passed) for stage in stages]


async def test_a_grant_that_works_passes_each_stage():
    stages, found = await World([grant()]).stages(OF_LISA)
    assert passed(stages) == [(name, True) for name in [*BEFORE, "grant", "token"]]
    assert stages[0].detail == "POSTERN_GRANTS_KEY_NAME, version 01234567"
    assert stages[2].detail == "GitHub; people sign in at github.com"
    assert stages[3].detail == "lisa: Connected as lisa-at-github since 2033-05-18 02:33 UTC, scopes repo user"
    assert stages[4].detail == "good for 30 min"
    assert found == [Access(ACCESS, 4, "")]


@table(
    ("world", "stage", "says"),
    [
        (World(vault=AWAY), "key", "POSTERN_KEY_VAULT_URL does not answer"),
        (World(secret=AWAY), "client_secret", "connections.tickets"),
        (World(provider=ConnectionFault("connections.tickets", "is away", "Wait")), "provider", "is away"),
        (World(journal_away=True), "grant", "the database is unavailable"),
        (World(), "grant", "lisa: Needed, it is not connected"),
        (World([grant(owner="tenant/ada")]), "grant", "lisa: Needed"),
        (World([grant(state=State.BROKEN, reason="revoked")]), "grant", "AADSTS50173"),
        (World([grant(refresh_expires_at=NOW)]), "grant", "lisa: Broken, it has expired"),
        (World([grant()], refused=True), "grant", "an operator ended the access of its owner"),
        (World([grant()], lost_key=True), "token", "do not open"),
        (World([grant(sealed=grant("tenant/ada").sealed)]), "token", "do not open"),
        (World([grant(sealed=ELSEWHERE)]), "token", "changed to another provider"),
    ],
    ids=[
        "vault",
        "secret",
        "provider",
        "database",
        "none",
        "ada-has-one",
        "broken",
        "over",
        "access-ended",
        "key-gone",
        "swapped",
        "moved",
    ],
)
async def test_each_failure_is_the_last_stage_and_has_a_fix(world: World, stage: str, says: str):
    stages, found = await world.stages(OF_LISA)
    last = stages[-1]
    assert (last.name, last.passed, says in last.detail, last.fix != "") == (stage, False, True, True), last
    assert found == []


@pytest.mark.parametrize(
    ("left", "says", "sent"),
    [
        (None, "until the other side rejects it", True),
        (7200.0, "good for 120 min", True),
        (5.0, "the next run renews it", False),
        (-9.0, "the next run renews it", False),
    ],
)
async def test_a_token_that_has_expired_is_neither_renewed_nor_sent(left: float | None, says: str, sent: bool):
    assert says in life_of(left)
    stages, found = await World([grant(access_expires_at=None if left is None else NOW + left)]).stages(OF_LISA)
    assert (stages[-1].passed, says in stages[-1].detail, bool(found)) == (True, True, sent)


async def test_without_a_name_people_are_counted_and_none_is_named(monkeypatch: pytest.MonkeyPatch):
    rows = [grant(), grant("tenant/ada"), grant("tenant/gil", state=State.BROKEN, reason="revoked")]
    world = World(rows)
    stages, found = await world.stages(Whose())
    assert passed(stages) == [(name, True) for name in [*BEFORE, "grant"]]
    assert stages[-1].detail == "each person has their own: Broken 1, Connected 2"
    assert (found, world.asked) == ([], ["of_connection"])
    assert "nobody has connected it" in (await World().stages(Whose()))[0][-1].detail
    monkeypatch.setattr(trial, "MOST_COUNTED", 2)
    assert "at least Connected 2" in (await World(rows).stages(Whose()))[0][-1].detail


async def test_a_shared_entry_has_one_grant_and_an_operator_connects_it():
    stages, found = await World([grant(SHARED)]).stages(Whose(), per_user=False)
    assert stages[3].detail.startswith("shared: Connected as lisa-at-github")
    assert [each.token for each in found] == [ACCESS]
    stages, _ = await World([grant()]).stages(Whose(), per_user=False)
    assert (stages[-1].passed, stages[-1].fix) == (
        False,
        "An operator must connect it, on the page Connections of the console",
    )


async def test_the_token_is_put_on_the_request_and_not_replaced():
    """It goes to the address of the grant, if that is one of the provider's."""
    request = Request("GET", "https://login.salesforce.com/data")
    one = OneToken("connections.crm", Access(ACCESS, 1, "https://mine.my.salesforce.com"), ("salesforce.com",))
    one.sign(request, await one.credential())
    assert (request.headers["authorization"], request.url.host) == (f"Bearer {ACCESS}", "mine.my.salesforce.com")
    assert await one.another(ACCESS) is None
    assert [stage.passed async for stage in one.try_out()] == [True]
    elsewhere = OneToken("connections.crm", Access(ACCESS, 1, "https://evil.test"), ("salesforce.com",))
    with pytest.raises(ConnectionFault, match="not of its provider"):
        elsewhere.sign(Request("GET", "https://login.salesforce.com/data"), ACCESS)
