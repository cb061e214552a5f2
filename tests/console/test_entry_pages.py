"""The pages of connections and secrets: how entries sign in, a test of one, and secrets by date of end."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.connections.vault.expiry import DAY, Expiry
from postern.connections.vault.secret import Secret, SecretState
from postern.console import connections
from postern.console.secrets import secret_rows
from postern.console.sign_in_words import sign_in_words
from postern.local_tenant import LocalTenant
from postern.settings import ApiKeyAuth, Auth, BasicAuth, EntraAuth, NoAuth, OAuth2Auth
from postern.settings.references import secret_references
from tests.console.operator_pages import Pages, open_pages
from tests.table import table

pytestmark = pytest.mark.slow

NOW = 2_000_000_000.0
CLIENT = "00000000-0000-0000-0000-000000000007"
SECRET = {"key_vault": "the-name"}
VALUE = "the-value-of-the-secret"

WORDS: list[tuple[type[Any], dict[str, Any], str]] = [
    (NoAuth, {}, "Without authentication."),
    (
        BasicAuth,
        {"username": "ann", "password": SECRET},
        "With user name ann and the password the-name in each request (Basic).",
    ),
    (
        BasicAuth,
        {"username": SECRET},
        "With the secret the-name as user name and no password in each request (Basic).",
    ),
    (ApiKeyAuth, {"header": "X-Key", "key": SECRET}, "With the key the-name in the header X-Key."),
    (ApiKeyAuth, {"query": "code", "key": SECRET}, "With the key the-name in the query parameter code."),
    (
        OAuth2Auth,
        {"token_url": "https://id.example/token?a=b", "client_id": "me", "client_secret": SECRET},
        "With a token of id.example for the client me: the secret the-name in the Authorization header.",
    ),
    (
        OAuth2Auth,
        {
            "token_url": "https://id.example/token",
            "client_id": "me",
            "private_key": SECRET,
            "client_authentication": "private_key_jwt",
        },
        "With a token of id.example for the client me: the private key the-name by a signed assertion.",
    ),
    (
        OAuth2Auth,
        {"identity_provider": "google", "client_id": "me@x", "private_key": SECRET, "scopes": ["a"]},
        "With a token of google, for an assertion of me@x signed by the-name.",
    ),
    (
        EntraAuth,
        {"client_id": CLIENT, "client_secret": SECRET, "audience": "api://x"},
        f"With a token of Entra for the application {CLIENT}: the secret the-name.",
    ),
    (
        EntraAuth,
        {"client_id": CLIENT, "tenant_id": CLIENT, "certificate": SECRET, "audience": "api://x"},
        f"With a token of Entra of the tenant {CLIENT} for the application {CLIENT}: the certificate the-name.",
    ),
    (
        EntraAuth,
        {"managed_identity": True, "audience": "api://x"},
        "With a token of Entra for the server's own managed identity.",
    ),
    (
        EntraAuth,
        {"client_id": CLIENT, "federated": True, "audience": "api://x"},
        f"With a token of Entra for the application {CLIENT}, by a federated managed identity.",
    ),
]


@table(("kind", "fields", "words"), WORDS)
def test_how_an_entry_signs_in_is_said_in_words(kind: type[Auth], fields: dict[str, Any], words: str):
    assert sign_in_words(kind(**fields)) == words


ENTRIES: dict[str, Any] = {
    "connections": {
        "erp": {
            "base_url": "https://erp.example/v2",
            "auth": {"type": "api_key", "header": "X-Key", "key": {"key_vault": "erp-key"}},
        }
    },
    "triggers": {"flow": {"url": "https://flows.example/invoke?api-version=1&sig=the-signature"}},
}


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant, own_modules: None) -> AsyncIterator[Pages]:
    """The pages of an installation with two entries."""
    async with open_pages(tmp_path, local_tenant, **ENTRIES) as pages:
        yield pages


@pytest.mark.anyio
async def test_each_entry_has_its_address_its_sign_in_and_a_test(pages: Pages):
    """The query of an address may be a signature, so it is not shown."""
    page = await pages.get("/console/connections")
    assert "With the key erp-key in the header X-Key." in page.text
    assert "https://flows.example/invoke<" in page.text
    assert "the-signature" not in page.text
    users = page.text.split("Workflows that name it: ")[1].partition("</span>")[0]
    assert re.findall(r">([a-z]+)<", users) == ["hello", "orders", "payroll"]
    for entry in ("connections.erp", "triggers.flow"):
        assert f'<form method="post" action="/console/connections/{entry}/test">' in page.text


@pytest.mark.anyio
async def test_a_test_shows_every_stage_and_how_to_fix_the_one_that_failed(pages: Pages):
    async def stages(entry: str) -> AsyncIterator[Stage]:
        yield Stage("entry", True, entry)
        yield Stage("reached", False, "no <b>connection</b>", "Check the address")

    pages.stages = stages
    with capture_logs() as logs:
        page = await pages.post("/console/connections/connections.erp/test")
    assert "erp does not work" in page.text
    assert "no &lt;b&gt;connection&lt;/b&gt;" in page.text
    assert "<b>Fix:</b> Check the address." in page.text
    assert [(line["event"], line["entry"], line["passed"]) for line in logs] == [
        ("connection-tested", "connections.erp", False)
    ]


@pytest.mark.anyio
@pytest.mark.network
async def test_a_test_does_what_the_command_does(pages: Pages, local_tenant: LocalTenant):
    """Without a Key Vault the sign-in fails at its secret."""
    page = await pages.post("/console/connections/connections.erp/test")
    assert "POSTERN_KEY_VAULT_URL" in page.text
    assert "erp does not work" in page.text


@pytest.mark.anyio
async def test_a_test_has_a_limit_of_time(pages: Pages, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "SECONDS", 0.01)

    async def stages(_: str) -> AsyncIterator[Stage]:
        yield Stage("entry", True, "found")
        await asyncio.Event().wait()

    pages.stages = stages
    page = await pages.post("/console/connections/connections.erp/test")
    assert "The stage time failed" in page.text
    assert (await pages.post("/console/connections/connections.nothing/test")).status_code == 404


@pytest.mark.anyio
async def test_an_entry_is_not_tested_twice_at_once_and_few_are_at_a_time(pages: Pages):
    going, begun = asyncio.Event(), asyncio.Event()

    async def stages(_: str) -> AsyncIterator[Stage]:
        begun.set()
        await going.wait()
        yield Stage("entry", True, "found")

    pages.family = connections.Connections(pages.services, stages)
    first = asyncio.ensure_future(pages.post("/console/connections/connections.erp/test"))
    await begun.wait()
    assert (await pages.post("/console/connections/connections.erp/test")).status_code == 429
    going.set()
    assert "erp works" in (await first).text
    assert "erp works" in (await pages.post("/console/connections/connections.erp/test")).text
    pages.family._testing.update(f"connections.{number}" for number in range(connections.AT_ONCE))
    assert (await pages.post("/console/connections/connections.erp/test")).status_code == 429


class Vault:
    """A vault with dates, values and a fault."""

    async def read(self, name: str) -> Secret:
        if name == "gone":
            raise ConnectionFault("the secret gone", "is not in the Key Vault", "Check its spelling")
        return Secret(name, VALUE, {"erp-key": NOW + 5.5 * DAY, "old": NOW - DAY}.get(name))

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)


@pytest.mark.anyio
async def test_secrets_are_read_on_request_and_no_value_is_shown(pages: Pages):
    expiry = Expiry(Vault(), secret_references(pages.services.settings), lambda: ["gone"], now=lambda: NOW)
    pages.change(
        secret_states=lambda: expiry.states,
        read_secrets=expiry.look,
        now=lambda: NOW,
        settings=pages.services.settings.model_copy(update={"key_vault_url": "https://vault.example"}),
    )
    before = await pages.get("/console/secrets")
    assert "not read yet" in before.text
    with capture_logs() as logs:
        after = await pages.post("/console/secrets/read")
    assert "expires in 5 days" in after.text
    assert "connections.erp key" in after.text
    assert "the secret gone is not in the Key Vault. <b>Fix:</b> Check its spelling." in after.text
    assert after.text.index("gone") < after.text.index("<code>erp-key")
    assert "2 need a person." in after.text
    assert "workflow payroll" in after.text
    assert VALUE not in before.text + after.text + str(logs)


def test_secrets_are_ordered_by_what_needs_a_person_and_then_by_date():
    fault = ConnectionFault("the secret d", "cannot be read", "Grant the role")
    states = {
        "a": SecretState("a", (), NOW + 100 * DAY),
        "B": SecretState("B", (), NOW + 1.5 * DAY),
        "c": SecretState("c", ()),
        "d": SecretState("d", (), fault=fault),
        "e": SecretState("e", (), NOW - 1),
        "f": SecretState("f", (), NOW + 3600),
    }
    rows = secret_rows(dict.fromkeys("abcdefg", ("user",)), states, NOW)
    assert [(row.name, row.state, row.words) for row in rows] == [
        ("d", "unreadable", "cannot be read"),
        ("e", "expired", "has expired"),
        ("f", "soon", "expires within a day"),
        ("b", "soon", "expires in 1 day"),
        ("a", "readable", "expires in 100 days"),
        ("c", "readable", "no expiry date"),
        ("g", "unknown", "not read yet"),
    ]
