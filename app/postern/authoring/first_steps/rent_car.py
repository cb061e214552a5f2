"""A durable run: it waits for a decision and for the day of the trip, and survives crashes meanwhile."""

from pydantic import BaseModel, Field

from postern import Context, specific_users, tenant_users, workflow


class Rental(BaseModel):
    """The request body."""

    car: str
    days_until: int = Field(ge=0, le=90)


@workflow(access=tenant_users(apps=False), durable=True)
async def rent_car(ctx: Context, rental: Rental) -> dict[str, str]:
    """Rent a car, if lisa approves, and hand it over on the day."""
    decision = await ctx.approval("fleet", who=specific_users("lisa"), timeout="3d", data=rental)
    if not decision:
        return {"state": decision.state}
    booking = await ctx.step(book, rental.car)
    await ctx.sleep(f"{rental.days_until}d")
    return {"state": await ctx.step(hand_over, booking)}


async def book(car: str) -> str:
    """The result is kept: after a crash, this step is not repeated."""
    return f"booking of {car}"


async def hand_over(booking: str) -> str:
    """It runs on the day, on whatever machine is there then."""
    return f"{booking}, handed over"
