"""A durable run waits over kills of its server processes, and goes on with what came to another one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Response

from postern.local_tenant import LocalTenant
from tests.process.servers import Server, running, settings_of, until

WORKFLOWS = """
from postern import specific_users, tenant_users, workflow

@workflow(access=tenant_users(), durable=True)
async def order(ctx) -> list:
    first = await ctx.wait_for("paid", timeout="1h")
    found = await ctx.approval("manager", who=specific_users("lisa"), timeout="1h", data={"secret": "marker"})
    second = await ctx.wait_for("paid")
    return [first.body, found.state, found.comment, found.decided_by["name"], second.body]
"""


@pytest.fixture
def environ(tmp_path: Path, local_tenant: LocalTenant, database_url: str) -> dict[str, str]:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "orders.py").write_text(WORKFLOWS, encoding="utf-8")
    people = "\n".join(f'{name} = "{object_id}"' for name, object_id in local_tenant.people.items())
    (tmp_path / "postern.toml").write_text(f"[people]\n{people}\n", encoding="utf-8")
    return {**settings_of(local_tenant, folder), "POSTERN_DATABASE_URL": database_url}


@pytest.fixture
def second(tmp_path: Path, environ: dict[str, str]) -> Iterator[Server]:
    with running("serve", tmp_path, environ) as server:
        yield server


def test_a_signal_and_a_decision_reach_a_run_whose_process_was_killed(
    tmp_path: Path, environ: dict[str, str], local_tenant: LocalTenant, second: Server
):
    """It began in a process that is killed while it waits. What is sent to the other one makes it go on there: the
    second signal comes before the run waits for it, and the first one arrives once."""

    def ask(server: Server, method: str, path: str, who: str, **more: object) -> Response:
        headers = {"Authorization": f"Bearer {local_tenant.token(who)}", **more.pop("headers", {})}  # type: ignore[dict-item]
        return server.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def waits_for(server: Server, reason: str) -> bool:
        durable = ask(server, "GET", run, "ada").json()["durable"]
        return (durable["phase"], durable["reason"]) == ("waiting", reason)

    def waiting() -> list[object]:
        return list(ask(second, "GET", "/approvals", "lisa").json()["approvals"])

    with running("serve", tmp_path, environ) as first:
        run = f"/runs/{first.post('order', local_tenant.token('ada')).json()['id']}"
        until(lambda: waits_for(first, "signal"))
        first.process.kill()
        first.process.wait(10)
    for number in (1, 1, 2):
        key = {"Idempotency-Key": f"k{number}"}
        sent = ask(second, "POST", f"{run}/signals/paid", "ada", json={"n": number}, headers=key)
        assert sent.status_code == 202
    (approval,) = until(waiting)
    assert approval["data"] == {"secret": "marker"}
    decision = {"approved": True, "comment": "fine"}
    assert ask(second, "POST", f"{run}/approvals/manager", "ada", json=decision).status_code == 401
    assert ask(second, "POST", f"{run}/approvals/manager", "lisa", json=decision).status_code == 200
    result = until(lambda: (found := ask(second, "GET", f"{run}/result", "ada")).status_code == 200 and found)
    assert result.json() == [{"n": 1}, "approved", "fine", "Lisa Moreau", {"n": 2}]
    record = ask(second, "GET", run, "ada").json()
    assert [(each["name"], each["taken"]) for each in record["signals"]] == [("paid", True), ("paid", True)]
    assert record["approvals"][0]["decided_by"]["name"] == "Lisa Moreau"
    assert "marker" not in second.output
