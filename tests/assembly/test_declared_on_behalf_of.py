"""A workflow that declares a connection on behalf of its caller loads only if its callers can be acted for."""

from pathlib import Path
from typing import Any

import pytest

from postern.assembly import load_catalog
from postern.cli.workspace import local_defaults
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings

pytestmark = [pytest.mark.usefixtures("own_modules")]

OF_CALLER = {
    "type": "entra",
    "on_behalf_of": True,
    "federated": True,
    "scopes": ["https://graph.microsoft.com/.default"],
}


def settings(folder: Path, local: LocalTenant, **auth: Any) -> Settings:
    me = {"base_url": "https://graph.microsoft.com/v1.0", "auth": {**OF_CALLER, **auth}}
    entries = {"connections": {"graph-as-me": me, "plain": {"base_url": "https://a.example", "auth": {"type": "none"}}}}
    given = {**local_defaults(local), **entries, "workflows": str(folder / "workflows")}
    return load_settings({}, folder=folder, defaults=given)


def write(folder: Path, access: str, names: str = '["graph-as-me", "plain"]') -> None:
    (folder / "workflows").mkdir(exist_ok=True)
    text = f"""
from postern import *

@workflow(access={access}, connections={names})
async def mine(ctx):
    pass

@workflow(access=anonymous())
async def beside(ctx):
    pass
"""
    (folder / "workflows" / "mine.py").write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ("anonymous()", "the callers of this workflow are anonymous"),
        ("tenant_users()", "apps=False"),
        ('specific_users("lisa")', "apps=False"),
        ('tenant_users(apps=False, audiences=["api://orders"])', "for the audience api://orders"),
    ],
)
def test_the_fault_names_the_connection_the_line_and_the_fix(
    tmp_path: Path, local_tenant: LocalTenant, access: str, expected: str
):
    write(tmp_path, access)
    (fault,) = load_catalog(settings(tmp_path, local_tenant)).snapshot.faults
    assert fault.line == 4
    assert "connections.graph-as-me is used on behalf of the caller" in fault.cause
    assert expected in fault.cause


@pytest.mark.parametrize(
    ("access", "names"),
    [
        ("tenant_users(apps=False)", '["graph-as-me"]'),
        ('specific_users("lisa", apps=False)', '["graph-as-me", "plain"]'),
        ("anonymous()", '["plain"]'),
        ("anonymous()", "None"),  # found out by the run
    ],
)
def test_other_workflows_load(tmp_path: Path, local_tenant: LocalTenant, access: str, names: str):
    write(tmp_path, access, names)
    snapshot = load_catalog(settings(tmp_path, local_tenant)).snapshot
    assert (snapshot.faults, set(snapshot.triggers)) == ((), {"mine", "beside"})


def test_an_entry_of_another_application_needs_its_tokens(tmp_path: Path, local_tenant: LocalTenant):
    other = local_tenant.applications["backup-job"].client_id
    write(tmp_path, "tenant_users(apps=False)")
    (fault,) = load_catalog(settings(tmp_path, local_tenant, client_id=other)).snapshot.faults
    assert f"the application {other} only" in fault.cause
    write(tmp_path, f'tenant_users(apps=False, audiences=["{other}"])')
    assert load_catalog(settings(tmp_path, local_tenant, client_id=other)).snapshot.faults == ()


def test_an_edit_that_lets_applications_in_keeps_the_last_version(tmp_path: Path, local_tenant: LocalTenant):
    write(tmp_path, "tenant_users(apps=False)")
    catalog = load_catalog(settings(tmp_path, local_tenant))
    write(tmp_path, "tenant_users()")
    snapshot = catalog.load()
    assert len(snapshot.faults) == 1
    assert snapshot.triggers["mine"].workflow.access.apps is False  # type: ignore[union-attr]
