"""A workflow that uses shared code."""

from decimal import Decimal

from pydantic import BaseModel
from workflows._prices import in_euros

from postern import Context, tenant_users, workflow


class Price(BaseModel):
    """The request body."""

    amount: Decimal
    currency: str


@workflow(access=tenant_users())
async def convert_price(ctx: Context, price: Price) -> dict[str, str]:
    """Convert a price to euros."""
    return {"euros": str(in_euros(price.amount, price.currency))}
