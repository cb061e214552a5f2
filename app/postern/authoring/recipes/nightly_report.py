"""A report each night. If the server was away then, it is made once when the server is back."""

from postern import Context, Retry, tenant_users, workflow


@workflow(
    access=tenant_users(),
    schedule="30 2 * * *",
    timezone="Europe/Madrid",
    missed="once",
    on_failure="tell-operators",
    connections=["orders", "mail"],
)
async def nightly_report(ctx: Context) -> dict[str, int]:
    """Send the number of open orders."""
    orders = await ctx.step(open_orders, ctx)
    await ctx.step(send, ctx, f"{orders} open orders", retry=Retry.none())
    return {"orders": orders}


async def open_orders(ctx: Context) -> int:
    """Reading may be repeated."""
    response = await ctx.connection("orders").get("/open")
    return len(response.raise_for_status().json())


async def send(ctx: Context, text: str) -> None:
    """A mail cannot be taken back, so it is sent once."""
    response = await ctx.connection("mail").post("/send", json={"text": text})
    response.raise_for_status()
