"""Who may call: two people by name, and an application by its role."""

from postern import Context, specific_users, tenant_users, workflow


@workflow(access=specific_users("lisa", "ada"))
async def close_month(ctx: Context) -> str:
    """Close the month. Only lisa and ada may."""
    return f"closed by {ctx.caller.name}"


@workflow(access=tenant_users(roles=["Workflow.Run"]))
async def import_rates(ctx: Context) -> str:
    """Import exchange rates. An application or a person needs the app role."""
    return f"imported by {ctx.caller.name or ctx.caller.client_id}"
