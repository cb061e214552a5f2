"""A durable workflow: lisa approves the order, and its caller says when the laptop has come. The run waits for both in
the database, over restarts and deployments."""

from pydantic import BaseModel, Field

from postern import Context, specific_users, tenant_users, workflow


class Laptop(BaseModel):
    """The request body."""

    model: str = Field(min_length=1, max_length=100)


@workflow(access=tenant_users(apps=False), durable=True)
async def order_laptop(ctx: Context, laptop: Laptop) -> dict[str, str]:
    """Order a laptop, if a manager approves, and wait until it is there."""
    decision = await ctx.approval("manager", who=specific_users("lisa"), timeout="30d", data=laptop)
    if not decision:
        return {"state": decision.state, "comment": decision.comment}
    order = await ctx.step(place_order, ctx.run_id, laptop.model)
    for reminders in range(4):
        arrived = await ctx.wait_for("arrived", timeout="7d")
        if arrived is not None:
            return {"state": "arrived", "order": order}
        ctx.log.info("laptop-missing", order=order, weeks=reminders + 1)
    return {"state": "missing", "order": order}


def place_order(key: str, model: str) -> str:
    """Place the order at the shop. The run's id is its number, so that a step that runs twice orders one laptop."""
    return f"{model} {key}"
