"""The checks of `postern doctor` against a server and a tenant that listen."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postern.cli.diagnosis import database, entra, public_url, vault
from postern.cli.diagnosis.finding import Finding
from postern.cli.workspace import export_local_credential, local_settings
from postern.http_client import http_client
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.vault import GRANTS_KEY_NAME
from postern.settings import Settings, load_settings
from tests.databases import put_sqlite
from tests.modules import no_modules_left
from tests.pipeline.with_connections import served
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.network]

MODULE = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx): ...
"""
REAL = {"tenant_id": "00000000-0000-0000-0000-000000000001", "audience": "api://real"}


def states(found: list[Finding]) -> list[str]:
    return [each.state for each in found]


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    """A tenant of this module's own."""
    with serve(LocalTenant.open(tmp_path_factory.mktemp("tenant"))) as tenant:
        yield tenant


@dataclass
class Installation:
    """A server at `url` whose database is that of `settings`."""

    url: str
    settings: Settings


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, tenant: LocalTenant) -> AsyncIterator[Installation]:
    """The server, once for all tests."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "hello.py").write_text(MODULE, encoding="utf-8")
    with no_modules_left(), pytest.MonkeyPatch.context() as patch:
        async with served(folder, tenant, {}, patch) as client:
            mine = {"database_url": f"sqlite:///{folder}/.journal.db"}
            yield Installation(str(client.base_url).rstrip("/"), load_settings({}, folder=folder, defaults=mine))


async def test_a_request_to_the_public_url_is_found_in_the_own_database(here: Installation):
    found = await public_url.check_public_url(here.settings, here.url)
    assert states(found) == ["ok", "ok"]
    assert "127.0.0.1" in found[1].detail


async def test_an_address_that_leads_to_another_installation_is_a_failure(
    here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(public_url, "LOOKS", 1)
    monkeypatch.setattr(public_url, "BETWEEN", 0)
    other = here.settings.model_copy(update={"database_url": put_sqlite(tmp_path / "other.db")})
    found = await public_url.check_public_url(other, here.url)
    assert (states(found), "another installation" in found[0].detail) == (["failed"], True)


async def test_a_database_that_cannot_be_read_is_no_proof_of_another_installation(here: Installation, tmp_path: Path):
    none = here.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/none.db"})
    assert states(await public_url.check_public_url(none, here.url)) == ["warning"]


async def test_a_proxy_that_is_not_trusted_is_found(here: Installation, monkeypatch: pytest.MonkeyPatch):
    def proxied(*arguments: Any, **more: Any) -> Any:
        client = http_client(*arguments, **more)
        client.headers["Via"] = "1.1 proxy"
        return client

    monkeypatch.setattr(public_url, "http_client", proxied)
    found = await public_url.check_public_url(here.settings, here.url)
    assert states(found) == ["ok", "failed"]
    assert "POSTERN_TRUSTED_PROXIES" in found[1].fix


async def test_an_address_where_nothing_or_something_else_answers_is_a_failure(here: Installation, tenant: LocalTenant):
    closed = await public_url.check_public_url(here.settings, f"http://127.0.0.1:{free_port()}")
    settings = here.settings.model_copy(update={"ca_bundle": tenant.ca_bundle})
    foreign = await public_url.check_public_url(settings, tenant.authority)
    assert (states(closed), states(foreign)) == (["failed"], ["failed"])
    assert "not as Postern does" in foreign[0].detail
    assert states(await public_url.check_public_url(here.settings, None)) == ["warning"]


async def test_the_certificate_of_the_public_url_has_to_be_trusted_and_for_its_name(tenant: LocalTenant):
    trusting = load_settings({}, defaults={"ca_bundle": str(tenant.ca_bundle)})
    check = public_url.check_certificate
    assert states(await check(trusting, tenant.authority)) == ["ok"]
    assert states(await check(trusting, tenant.authority, now=lambda: 2.0**40)) == ["warning"]
    distrusting = await check(load_settings({}), tenant.authority)
    assert (states(distrusting), "CERTIFICATE_VERIFY_FAILED" in distrusting[0].detail) == (["failed"], True)
    assert states(await check(trusting, f"https://127.0.0.1:{free_port()}")) == ["failed"]
    assert states(await check(trusting, "https://nowhere.invalid")) == ["failed"]
    assert states(await check(trusting, "http://flows.example")) == ["failed"]
    assert states(await check(trusting, "http://127.0.0.1:8080")) == ["ok"]
    assert states(await check(trusting, None)) == ["warning"]
    behind = load_settings({}, defaults={"proxy": "http://127.0.0.1:1"})
    assert states(await check(behind, "https://flows.example")) == ["warning"]


async def test_the_tenant_its_keys_and_its_clock(tenant: LocalTenant):
    settings = local_settings(tenant)
    for check in (entra.check_tenant, entra.check_keys, entra.check_clock):
        assert states(await check(settings, local=True)) == ["ok"]
        assert states(await check(load_settings({}), local=False)) == ["warning"]
    wrong = settings.model_copy(update={"tenant_id": REAL["tenant_id"]})
    found = await entra.check_tenant(wrong, local=False)
    assert (states(found), REAL["tenant_id"] in found[0].detail) == (["failed"], True)
    assert "POSTERN_TENANT_ID and POSTERN_AUTHORITY are right" in found[0].fix
    ahead = partial(entra.check_clock, settings, local=True, now=lambda: 2.0**40)
    assert states(await ahead()) == ["failed"]
    silent = settings.model_copy(update={"authority": f"https://127.0.0.1:{free_port()}"})
    for check in (entra.check_tenant, entra.check_keys, entra.check_clock):
        found = await check(silent, local=False)
        assert (states(found), "POSTERN_AUTHORITY is right" in found[0].fix) == (["failed"], True)


async def test_the_vault_and_the_keys_in_it(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(name, "")
    export_local_credential(tenant)
    settings, at = local_settings(tenant), tenant.authority
    assert states(await vault.check_secrets(settings, at, None)) == ["ok"]
    assert states(await vault.check_grants_key(settings, at)) == ["ok"]
    assert states(await vault.check_audit_key(settings.model_copy(update={"audit_key_name": None}), at)) == ["warning"]
    named = settings.model_copy(update={"audit_key_name": "the-audit-key"})
    assert states(await vault.check_audit_key(named, at)) == ["failed"]
    tenant.put_secret("the-audit-key", "value-marker")
    found = await vault.check_audit_key(named, at)
    assert (states(found), "value-marker" in repr(found)) == (["failed"], False)
    tenant.put_secret("no-grants-key", "value-marker")
    found = await vault.check_grants_key(settings.model_copy(update={"grants_key_name": "no-grants-key"}), at)
    assert (states(found), "value-marker" in repr(found)) == (["failed"], False)
    assert states(await vault.check_durable_key(settings.model_copy(update={"durable_key_name": None}), at)) == ["ok"]
    assert states(
        await vault.check_durable_key(settings.model_copy(update={"durable_key_name": GRANTS_KEY_NAME}), at)
    ) == ["ok"]
    found = await vault.check_durable_key(settings.model_copy(update={"durable_key_name": "no-grants-key"}), at)
    assert (states(found), found[0].detail.split()[0], "value-marker" in repr(found)) == (
        ["failed"],
        "POSTERN_DURABLE_KEY_NAME",
        False,
    )
    assert states(await vault.check_secrets(load_settings({}), at, None)) == ["ok"]
    assert states(await vault.check_grants_key(load_settings({}), at)) == ["ok"]


async def test_the_database(here: Installation, tmp_path: Path):
    migrated = here.settings.model_copy(update={"database_url": put_sqlite(tmp_path / "migrated.db")})
    found = await database.check_database(migrated)
    assert {each.state for each in found} <= {"ok", "warning"}
    assert any("has migration" in each.detail for each in found)
    missing = here.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/none.db"})
    assert states(await database.check_database(missing)) == ["warning"]
    (tmp_path / "text.db").write_text("this is no database at all", encoding="utf-8")
    text = here.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/text.db"})
    assert states(await database.check_database(text)) == ["failed"]
    password = "password-marker"
    closed = f"postgresql://postern:{password}@127.0.0.1:{free_port()}/postern"
    found = await database.check_database(here.settings.model_copy(update={"database_url": closed}))
    assert (states(found), password in repr(found)) == (["failed"], False)
    exposed = tmp_path / "exposed.db"
    url = put_sqlite(exposed)
    exposed.chmod(0o644)
    found = await database.check_database(here.settings.model_copy(update={"database_url": url}))
    assert any(each.state == "warning" and "chmod 600" in each.fix for each in found)
