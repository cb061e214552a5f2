"""Who sent the request? Any user or application of the tenant may call this."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users())
async def whoami(ctx: Context) -> dict[str, str]:
    """Return the caller's identity."""
    return {"kind": ctx.caller.kind, "object_id": ctx.caller.object_id, "name": ctx.caller.name}
