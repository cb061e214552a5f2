"""A durable run calls other workflows: each call is a step, and its key is the same whenever it is made again."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(apps=False), durable=True)
async def onboard(ctx: Context, name: str) -> dict[str, str]:
    """Make an account for a new colleague, and issue a badge on the first day."""
    account = await ctx.call("create-account", {"name": name})
    await ctx.sleep("7d")
    badge = await ctx.call("issue-badge", {"name": name, "desk": 7})
    return {"account": account["id"], "badge": badge["badge"]}
