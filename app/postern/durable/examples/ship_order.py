"""A workflow whose runs sleep while its code changes: the version of today."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
async def ship_order(ctx: Context, order: str) -> str:
    """Ship an order after its cooling-off period."""
    parcel = await ctx.step(pack, order)
    await ctx.sleep("14d")
    return await ctx.step(ship, parcel)


def pack(order: str) -> str:
    """Pack it."""
    return f"parcel of {order}"


def ship(parcel: str) -> str:
    """Ship it."""
    return f"{parcel}, shipped"
