"""Who of the local tenant may call a workflow, as the options of `postern token`."""

from pathlib import Path
from typing import Any

import pytest

from postern.access import Access, anonymous, bind, specific_users, tenant_users
from postern.authoring.workflow import workflow
from postern.catalog import Trigger
from postern.cli.local_callers import callers
from postern.local_tenant import LocalTenant


@pytest.mark.parametrize(
    ("access", "options"),
    [
        (anonymous(), ""),
        (tenant_users(), "--as ada"),
        (specific_users("lisa"), "--as lisa"),
        (tenant_users(auth_context="strong", apps=False), "--as ada --auth-context strong"),
        (tenant_users(roles=["Nobody.Has.It"]), ""),
    ],
)
def test_the_options_are_those_of_a_token_that_the_workflow_accepts(state: Path, access: Access, options: str):
    tenant = LocalTenant.open(state)

    @workflow(access=access)
    async def function(ctx: Any) -> None: ...

    here: dict[str, Any] = {"people": tenant.people, "tenants": [tenant.tenant_id], "audiences": tenant.audiences}
    policy = bind(access, **here, client_id=tenant.client_id, auth_contexts={"strong": "c7"})
    assert callers(tenant)(Trigger(function, policy, Path("x.py"))) == options
