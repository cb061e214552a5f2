"""The next version of the same workflow: a step is added at the end, so runs that sleep go on with it."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
async def ship_order(ctx: Context, order: str) -> str:
    """Ship an order after its cooling-off period."""
    parcel = await ctx.step(pack, order)
    await ctx.sleep("14d")
    shipped = await ctx.step(ship, parcel)
    await ctx.step(tell, shipped)
    return shipped


def pack(order: str) -> str:
    """Pack it."""
    return f"parcel of {order}"


def ship(parcel: str) -> str:
    """Ship it."""
    return f"{parcel}, shipped"


def tell(shipped: str) -> None:
    """Tell the customer."""
