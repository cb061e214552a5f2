"""Access that ends at one server process ends at the others, and stays ended after a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running, settings_of

WORKFLOWS = """
from postern import anonymous, tenant_users, workflow

@workflow(access=tenant_users())
async def guarded(ctx):
    return ctx.caller.name
"""


@pytest.fixture
def environ(tmp_path: Path, local_tenant: LocalTenant, database_url: str) -> dict[str, str]:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "guarded.py").write_text(WORKFLOWS, encoding="utf-8")
    more = {"POSTERN_DATABASE_URL": database_url, "POSTERN_OPERATORS": local_tenant.people["gil"]}
    return settings_of(local_tenant, folder) | more


@pytest.fixture
def first(tmp_path: Path, environ: dict[str, str]) -> Iterator[Server]:
    with running("serve", tmp_path, environ) as server:
        yield server


def test_access_ends_in_all_server_processes_until_it_is_taken_back(
    tmp_path: Path, environ: dict[str, str], first: Server, local_tenant: LocalTenant
):
    lisa, ada = local_tenant.token("lisa"), local_tenant.token("ada")
    operator = {"Authorization": f"Bearer {local_tenant.token('gil')}"}
    body = {"kind": "caller", "subject": local_tenant.people["lisa"], "reason": "stolen laptop"}
    with running("serve", tmp_path, environ) as second:
        assert second.post("guarded", lisa).status_code == 200
        made = first.client.post("/revocations", json=body, headers=operator)
        assert made.status_code == 201, made.text
        assert first.post("guarded", lisa).status_code == 401
        assert "ended the access" in second.answers("guarded", 401, lisa).text
        assert second.post("guarded", ada).status_code == 200
    with running("serve", tmp_path, environ) as restarted:
        assert restarted.post("guarded", lisa).status_code == 401
        assert first.client.delete(made.headers["Location"], headers=operator).status_code == 200
        assert first.post("guarded", lisa).status_code == 200
        restarted.answers("guarded", 200, lisa)
