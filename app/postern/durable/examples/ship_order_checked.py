"""A change that needs a new name: a step in front of the others. Runs under way keep the workflow of the old name,
which nobody calls any more, until they have ended."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
async def ship_checked_order(ctx: Context, order: str) -> str:
    """Check an order, and ship it after its cooling-off period."""
    await ctx.step(check, order)
    parcel = await ctx.step(pack, order)
    await ctx.sleep("14d")
    return await ctx.step(ship, parcel)


def check(order: str) -> None:
    """Check that it can be paid."""


def pack(order: str) -> str:
    """Pack it."""
    return f"parcel of {order}"


def ship(parcel: str) -> str:
    """Ship it."""
    return f"{parcel}, shipped"
