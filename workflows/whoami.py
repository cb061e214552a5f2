"""Who is asking? Any user or application of the tenant may know."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users())
async def whoami(ctx: Context) -> dict[str, str]:
    """Tell the caller who they are."""
    return {"kind": ctx.caller.kind, "object_id": ctx.caller.object_id, "name": ctx.caller.name}
