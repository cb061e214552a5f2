"""A schedule beside the URL: the server starts it, also if nobody calls."""

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), schedule="0 7 * * MON-FRI", timezone="Europe/Madrid", connections=["rates"])
async def morning_report(ctx: Context) -> dict[str, str]:
    """Report the rate of the day."""
    response = await ctx.connection("rates").get("/rates/EUR")
    return {"started_by": ctx.caller.kind, "rate": str(response.raise_for_status().json()["rate"])}
