"""Only lisa may run the payroll. Her object id is in [people] of postern.toml. The local tenant has her already."""

from postern import Context, specific_users, workflow


@workflow(access=specific_users("lisa"), secure_outputs=True)
async def payroll(ctx: Context) -> dict[str, str | int]:
    """Run the payroll of the month."""
    ctx.log.info("payroll-started", by=ctx.caller.object_id)
    return {"paid": 12, "by": ctx.caller.name}
