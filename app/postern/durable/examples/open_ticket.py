"""A step that may run twice, for a system without idempotency keys: it looks before it creates."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True, connections=["tickets"])
async def open_ticket(ctx: Context, text: str) -> dict[str, str]:
    """Open a ticket."""
    return {"ticket": await ctx.step(create, ctx, text)}


async def create(ctx: Context, text: str) -> str:
    """The run's id in the ticket shows whether an earlier attempt has created it."""
    tickets = ctx.connection("tickets")
    found = await tickets.get("/tickets", params={"reference": ctx.run_id})
    found.raise_for_status()
    if earlier := found.json():
        return str(earlier[0]["id"])
    made = await tickets.post("/tickets", json={"reference": ctx.run_id, "text": text})
    made.raise_for_status()
    return str(made.json()["id"])
