"""A durable workflow that could not keep its promise, or would keep bodies unsealed, does not load."""

import json
from pathlib import Path

import pytest

from postern.api.representation import workflows_json
from postern.assembly import load_catalog
from postern.authoring import workflow as authoring
from postern.cli.catalog import unsealed_workflows
from postern.cli.workspace import local_defaults
from postern.console.workflow_view import workflow_page
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.assembly.test_declared_on_behalf_of import settings as with_on_behalf_of

pytestmark = [pytest.mark.usefixtures("own_modules")]


def write(folder: Path, options: str, access: str = "anonymous()") -> None:
    (folder / "workflows").mkdir(exist_ok=True)
    text = f"""
from postern import *

@workflow(access={access}, {options})
async def mine(ctx):
    pass

@workflow(access=anonymous())
async def beside(ctx):
    pass
"""
    (folder / "workflows" / "mine.py").write_text(text, "utf-8")


@pytest.mark.parametrize("secured", ["secure_inputs=True", "secure_outputs=True"])
def test_a_durable_workflow_with_secured_bodies_needs_a_key(tmp_path: Path, local_tenant: LocalTenant, secured: str):
    write(tmp_path, f"durable=True, {secured}")
    given = {**local_defaults(local_tenant), "workflows": str(tmp_path / "workflows")}
    assert load_catalog(load_settings({}, folder=tmp_path, defaults=given)).snapshot.faults == ()
    (fault,) = load_catalog(
        load_settings({}, folder=tmp_path, defaults={**given, "durable_key_name": None})
    ).snapshot.faults
    assert "secure_inputs or secure_outputs needs a key: set POSTERN_DURABLE_KEY_NAME" in fault.cause
    assert fault.line == 4
    write(tmp_path, secured)
    write_again = {**given, "durable_key_name": None}
    assert load_catalog(load_settings({}, folder=tmp_path, defaults=write_again)).snapshot.faults == ()


def test_a_durable_workflow_does_not_act_on_behalf_of_its_caller(tmp_path: Path, local_tenant: LocalTenant):
    access = "tenant_users(apps=False)"
    write(tmp_path, 'durable=True, connections=["graph-as-me"]', access)
    (fault,) = load_catalog(with_on_behalf_of(tmp_path, local_tenant)).snapshot.faults
    assert "connections.graph-as-me is used on behalf of the caller, whose token is not kept" in fault.cause
    for options in ('connections=["graph-as-me"]', 'durable=True, connections=["plain"]'):
        write(tmp_path, options, access)
        assert load_catalog(with_on_behalf_of(tmp_path, local_tenant)).snapshot.faults == ()


def test_without_the_extra_a_durable_workflow_is_a_fault_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "durable=True")
    monkeypatch.setattr(authoring, "find_spec", lambda _: None)
    (fault,) = load_catalog(
        load_settings({}, folder=tmp_path, defaults={"workflows": str(tmp_path / "workflows")})
    ).snapshot.faults
    assert "durable=True needs the package dbos: install postern-workflows[durable]" in fault.cause


def test_without_a_key_the_durable_workflows_are_named_whose_bodies_are_unsealed(tmp_path: Path):
    (tmp_path / "later.py").write_text(
        "from postern import anonymous, workflow\n\n"
        "@workflow(access=anonymous(), durable=True)\nasync def later(ctx): ...\n\n"
        "@workflow(access=anonymous())\nasync def now(ctx): ...\n"
    )
    settings = load_settings({}, folder=tmp_path, defaults={"workflows": str(tmp_path)})
    snapshot = load_catalog(settings).snapshot
    text = unsealed_workflows(settings, snapshot)
    assert text.startswith("Bodies of durable runs (later) are in the database, unsealed, until the runs succeed")
    assert unsealed_workflows(settings.model_copy(update={"durable_key_name": "key"}), snapshot) == ""
    assert b"Infinity" not in workflows_json(snapshot)
    (durable, inline) = json.loads(workflows_json(snapshot))["workflows"]
    assert [(each["durable"], each["bodies_unsealed"]) for each in (durable, inline)] == [(True, True), (False, False)]
    assert not json.loads(workflows_json(snapshot, seals_runs=True))["workflows"][0]["bodies_unsealed"]
    shown = dict(workflow_page(snapshot.triggers["later"]).options)
    assert ("unsealed" in shown["Durable"], "Timeout" in shown) == (True, False)
    assert "are sealed" in dict(workflow_page(snapshot.triggers["later"], seals_runs=True).options)["Durable"]
