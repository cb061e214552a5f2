"""One run at a time for each customer. Runs of different customers do not wait for each other."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Customer(BaseModel):
    """The request body."""

    number: str


@workflow(access=tenant_users(), concurrency_key=lambda caller, customer: customer.number, connections=["orders"])
async def sync_customer(ctx: Context, customer: Customer) -> dict[str, int]:
    """Fetch the orders of a customer."""
    response = await ctx.connection("orders").get("/open", params={"customer": customer.number})
    return {"orders": len(response.raise_for_status().json())}
