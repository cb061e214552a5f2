"""A secret of the Key Vault. It is fetched when it is needed, and it is in no log and no reply."""

import hmac

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(apps=False), secrets=["badge-key"])
async def sign_badge(ctx: Context) -> dict[str, str]:
    """Sign the badge of the caller."""
    key = await ctx.secret("badge-key")
    holder = ctx.caller.object_id
    return {"holder": holder, "signature": hmac.digest(key.encode(), holder.encode(), "sha256").hex()}
