"""The vault and the token cache note spans for what a run waits for."""

import pytest

from postern.connections.auth.token_cache import Token, Tokens
from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import Secret
from postern.connections.vault.vault import Vault
from postern.telemetry.spans import CURRENT, Ended, Position

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
async def taken():
    found: list[Ended] = []
    CURRENT.set(Position(found.append, TRACE, "b7ad6b7169203331", 1))
    return found


async def test_a_secret_that_is_read_is_a_span_with_its_name_and_a_cached_one_is_none(taken, monkeypatch):
    vault = Vault("https://v.vault.azure.net", "developer")

    async def get(name, version, *, retries):
        if name == "missing":
            raise ConnectionFault("the secret missing", "is not there", "Make it")
        return Secret(name, "the-value-of-it")

    monkeypatch.setattr(vault._vault, "get", get)
    CURRENT.set(Position(taken.append, TRACE, "b7ad6b7169203331", 1))
    assert [await vault.secret("key") for _ in range(2)] == ["the-value-of-it"] * 2
    with pytest.raises(ConnectionFault):
        await vault.secret("missing")
    await vault.aclose()

    read, missing = taken
    assert (read.name, read.kind, read.parent_id, read.error) == ("vault", "client", "b7ad6b7169203331", "")
    assert (read.attributes, missing.attributes) == ({"postern.secret.name": "key"}, {"postern.secret.name": "missing"})
    assert missing.error == "ConnectionFault"
    assert "the-value-of-it" not in repr(taken)


async def test_a_token_that_is_requested_is_a_span_and_a_cached_one_is_none(taken):
    async def fetch():
        return Token("the-token", 3600.0)

    CURRENT.set(Position(taken.append, TRACE, "b7ad6b7169203331", 1))
    tokens = Tokens(fetch, entry="connections.graph")
    assert [await tokens.token() for _ in range(2)] == ["the-token"] * 2

    (found,) = taken
    assert (found.name, found.kind, found.attributes) == ("token", "client", {"postern.entry": "connections.graph"})
    assert "the-token" not in repr(taken)
