"""Testing an entry on behalf of a caller, stage by stage, against the local tenant."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postern.cli.workspace import local_defaults
from postern.connections.entry_trial import stages_of
from postern.connections.on_behalf_of.caller_token import CallerToken
from postern.connections.stage import Stage
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings
from tests.connections.counterparts import Counterpart, always, listening

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SECRET = {"key_vault": "postern-client-secret"}


@pytest.fixture
async def there() -> AsyncIterator[Counterpart]:
    """The API on the other side."""
    async with listening(always(204)) as server:
        yield server


@pytest.fixture
def settings(
    tmp_path: Path, local_tenant: LocalTenant, there: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A connection and a trigger on behalf of the caller, with a gateway's key beside."""
    monkeypatch.setenv("AZURE_TENANT_ID", local_tenant.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", local_tenant.client_id)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", local_tenant.client_secret("postern"))
    auth = {"type": "entra", "on_behalf_of": True, "client_secret": SECRET, "scopes": ["api://postern/.default"]}
    shared: dict[str, Any] = {"auth": auth, "headers": {"X-Key": SECRET}}
    entries = {
        "connections": {"me": {"base_url": f"{there.url}/v1", **shared}},
        "triggers": {"pay": {"url": f"{there.url}/pay", **shared}},
    }
    return load_settings({}, folder=tmp_path, defaults={**local_defaults(local_tenant), **entries})


async def all_stages(entry: str, settings: Settings, caller: CallerToken | None = None) -> list[Stage]:
    return [stage async for stage in stages_of(entry, settings, caller=caller)]


@pytest.mark.parametrize("entry", ["connections.me", "triggers.pay"])
async def test_without_a_caller_nothing_is_sent(settings: Settings, there: Counterpart, entry: str):
    stages = await all_stages(entry, settings)
    assert [(stage.name, stage.passed) for stage in stages] == [
        ("entry", True),
        ("secret", True),
        ("token", True),
        ("reached", True),
    ]
    assert "postern connections test NAME --as NAME" in stages[2].detail
    assert there.received == []


@pytest.mark.parametrize(("entry", "sent"), [("connections.me", 1), ("triggers.pay", 0)])
async def test_a_caller_s_token_is_exchanged_and_only_a_connection_gets_a_request(
    settings: Settings, local_tenant: LocalTenant, there: Counterpart, entry: str, sent: int
):
    stages = await all_stages(entry, settings, CallerToken(local_tenant.token("lisa")))
    assert all(stage.passed for stage in stages), stages
    assert [stage.name for stage in stages] == ["entry", "secret", "token", "reached"]
    assert "on behalf of the caller" in stages[2].detail
    assert len(there.received) == sent
    assert all(each.header("x-key") for each in there.received)
    assert not any(local_tenant.client_secret("postern") in f"{stage}" for stage in stages)


async def test_a_caller_who_is_an_application_fails_at_the_token(settings: Settings, local_tenant: LocalTenant):
    *_, last = await all_stages("connections.me", settings, CallerToken(local_tenant.token("nightly-report")))
    assert (last.name, last.passed) == ("token", False)
    assert "AADSTS7000114" in last.detail


async def test_a_secret_that_is_not_there_fails_first(settings: Settings, local_tenant: LocalTenant):
    entry = settings.connections["me"]
    other = entry.auth.model_copy(
        update={"client_secret": entry.headers["X-Key"].model_copy(update={"key_vault": "x"})}
    )
    connections = {"me": entry.model_copy(update={"auth": other})}
    changed = settings.model_copy(update={"connections": connections})
    *_, last = await all_stages("connections.me", changed, CallerToken(local_tenant.token("lisa")))
    assert (last.name, last.passed) == ("secret", False)
