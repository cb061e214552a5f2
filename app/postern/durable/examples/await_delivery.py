"""A signal with reminders: the run waits up to four times a week for what somebody sends it."""

from postern import Context, Problem, specific_users, tenant_users, workflow


@workflow(access=tenant_users(), durable=True, signals=specific_users("postern", "lisa"))
async def await_delivery(ctx: Context, order: str) -> dict[str, str]:
    """Wait for the delivery of an order."""
    for week in range(4):
        delivered = await ctx.wait_for("delivered", timeout="7d")
        if delivered is not None:
            return {"order": order, "received_by": str(delivered.body["received_by"])}
        await ctx.step(remind, order, week + 1)
    raise Problem(504, "The order was not delivered within four weeks.", code="not-delivered")


def remind(order: str, week: int) -> None:
    """Remind the supplier. It does no harm if that is done twice."""
