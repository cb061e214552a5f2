"""Which workflows a person reads of on the page of a connection."""

from pathlib import Path
from typing import Any

from postern import Context, anonymous, specific_users, tenant_users, workflow
from postern.access import bind
from postern.catalog import Trigger
from postern.catalog.uses import NOTHING_SEEN, uses_of
from postern.console.uses_words import users_for, users_of_connections

LISA, ADA = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
MODES = {
    "for-all": anonymous(),
    "for-lisa": specific_users("lisa"),
    "for-ada": specific_users(ADA),
    "for-both": specific_users("lisa", ADA),
    "for-the-tenant": tenant_users(),
}


def trigger(name: str, access: Any) -> Trigger:
    @workflow(access=access, name=name, connections=("tickets",))
    async def run(ctx: Context) -> str:
        return ""

    policy = bind(access, people={"lisa": LISA}, tenants=[ADA], audiences=["api://ours"])
    return Trigger(run, policy, Path("x.py"), uses=uses_of(run, NOTHING_SEEN))


def test_a_workflow_for_specific_users_is_named_to_no_other_person():
    triggers = {name: trigger(name, access) for name, access in MODES.items()}
    assert users_of_connections(triggers) == {"tickets": sorted(MODES)}
    assert users_for(triggers, "tickets", LISA) == ["for-all", "for-both", "for-lisa", "for-the-tenant"]
    assert users_for(triggers, "tickets", ADA) == ["for-ada", "for-all", "for-both", "for-the-tenant"]
    assert users_for(triggers, "notes", LISA) == []
