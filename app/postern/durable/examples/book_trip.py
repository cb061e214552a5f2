"""Errors of steps: what was done is undone before the run fails."""

from postern import Context, Problem, Retry, StepError, tenant_users, workflow


class SoldOut(Exception):
    """There is no seat left."""


@workflow(access=tenant_users(), durable=True, timeout="10m")
async def book_trip(ctx: Context, city: str) -> dict[str, str]:
    """Book a hotel and a flight, or neither."""
    hotel = await ctx.step(book_hotel, ctx.run_id, city)
    try:
        flight = await ctx.step(book_flight, ctx.run_id, city, retry=Retry.none())
    except StepError as error:
        await ctx.step(cancel_hotel, hotel)
        raise Problem(409, "There is no flight.", code="no-flight") from error
    return {"hotel": hotel, "flight": flight}


def book_hotel(key: str, city: str) -> str:
    """The key is the run's id."""
    return f"{city}-{key}"


def book_flight(key: str, city: str) -> str:
    """An error of a class of your own is a StepError in the workflow, with its name as `error.type`."""
    if city == "Atlantis":
        raise SoldOut(city)
    return f"{city}-{key}"


def cancel_hotel(booking: str) -> None:
    """To cancel twice changes nothing."""
