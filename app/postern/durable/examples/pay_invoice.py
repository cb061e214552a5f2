"""A step that may run twice: the bank gets the same key both times, and makes one payment."""

from decimal import Decimal

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Invoice(BaseModel):
    """The request body."""

    number: str
    amount: Decimal


@workflow(access=tenant_users(), durable=True, connections=["bank"])
async def pay_invoice(ctx: Context, invoice: Invoice) -> dict[str, str]:
    """Pay an invoice."""
    return {"payment": await ctx.step(pay, ctx, invoice)}


async def pay(ctx: Context, invoice: Invoice) -> str:
    """The key is the same in each attempt and in each server process, because it is made of the run's id."""
    response = await ctx.connection("bank").post(
        "/payments",
        json={"invoice": invoice.number, "amount": str(invoice.amount)},
        headers={"Idempotency-Key": f"{ctx.run_id}-pay"},
    )
    response.raise_for_status()
    return str(response.json()["id"])
