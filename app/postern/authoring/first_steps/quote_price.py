"""A typed body: pydantic checks what callers send."""

from decimal import Decimal

from pydantic import BaseModel, Field

from postern import Context, tenant_users, workflow


class Order(BaseModel):
    """The request body."""

    item: str
    count: int = Field(ge=1, le=1000)


@workflow(access=tenant_users())
async def quote_price(ctx: Context, order: Order) -> dict[str, str]:
    """Say what an order costs."""
    return {"item": order.item, "price": str(order.count * Decimal("9.50"))}
