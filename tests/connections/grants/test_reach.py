"""A workflow that declares a connection of people whose grants it can never have."""

from pathlib import Path
from typing import Any

import pytest

from postern import anonymous, specific_users, tenant_users, workflow
from postern.access import bind
from postern.catalog import Trigger
from postern.connections.grants.reach import out_of_reach
from postern.settings import load_settings
from tests.connections.grants.granting import API, PEOPLE, TENANT, TICKETS

ELSEWHERE = "00000000-0000-0000-0000-0000000000ee"
OURS = "api://postern"


@pytest.mark.parametrize(
    ("access", "declared", "said"),
    [
        (anonymous(), ["tickets"], "its callers are anonymous"),
        (anonymous(), ["tickets", "plain", "wiki", "gone"], "its callers are anonymous"),
        (tenant_users(tenants=[ELSEWHERE]), ["tickets"], "leaves out that of POSTERN_TENANT_ID"),
        (specific_users("lisa", tenants=[ELSEWHERE]), ["tickets"], "leaves out that of POSTERN_TENANT_ID"),
        (tenant_users(tenants=[ELSEWHERE, TENANT]), ["tickets"], ""),
        (tenant_users(), ["tickets"], ""),
        (tenant_users(apps=False), ["tickets"], ""),
        (specific_users("lisa"), ["tickets"], ""),
        (anonymous(), ["wiki", "plain", "gone"], ""),
        (anonymous(), [], ""),
        (anonymous(), None, ""),
    ],
)
def test_check_warns_of_a_workflow_that_can_never_have_its_grant(
    tmp_path: Path, access: Any, declared: list[str] | None, said: str
):
    @workflow(access=access, connections=declared)
    async def asks(ctx: Any) -> None: ...

    settings = load_settings(
        {},
        folder=tmp_path,
        defaults={
            "tenant_id": TENANT,
            "connections": {
                "tickets": {"base_url": API, "auth": TICKETS},
                "wiki": {"base_url": API, "auth": {**TICKETS, "per_user": False}},
                "plain": {"base_url": API, "auth": {"type": "none"}},
            },
        },
    )
    policy = bind(access, people=PEOPLE, tenants=[TENANT], audiences=[OURS])
    texts = out_of_reach([Trigger(asks, policy, Path("asks.py"))], settings)
    assert len(texts) == (1 if said else 0)
    assert all(said in text and "asks declares the connection tickets" in text for text in texts)
