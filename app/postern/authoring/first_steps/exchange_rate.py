"""A step with retries, through a connection that signs in by itself."""

from pydantic import BaseModel

from postern import Context, Retry, tenant_users, workflow


class Rate(BaseModel):
    """What the other system sends."""

    currency: str
    rate: float


@workflow(access=tenant_users(), path="/{currency}", methods=["GET"], connections=["rates"])
async def exchange_rate(ctx: Context, currency: str) -> Rate:
    """Look up an exchange rate."""
    return await ctx.step(fetch, ctx, currency, retry=Retry(count=2, interval=1, minimum=1, maximum=5))


async def fetch(ctx: Context, currency: str) -> Rate:
    """It may be called again, which changes nothing at the other system."""
    response = await ctx.connection("rates").get(f"/rates/{currency}")
    return Rate.model_validate(response.raise_for_status().json())
