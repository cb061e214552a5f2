"""A call of another trigger: of this server, or of [triggers.NAME] in postern.toml."""

from pydantic import BaseModel

from postern import CallError, Context, Problem, tenant_users, workflow


class Trip(BaseModel):
    """The request body."""

    city: str
    people: int


@workflow(access=tenant_users())
async def plan_trip(ctx: Context, trip: Trip) -> dict[str, str]:
    """Plan a trip, with the price of another workflow."""
    try:
        quote = await ctx.call("quote-price", {"item": trip.city, "count": trip.people})
    except CallError as error:
        raise Problem(502, "There is no price at the moment.") from error
    return {"city": trip.city, "price": quote["price"]}
