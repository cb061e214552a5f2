"""A webhook of Stripe, which signs the time and the body with the secret `stripe-hook`."""

from typing import Any

from pydantic import BaseModel

from postern import Context, anonymous, stripe, workflow


class Event(BaseModel):
    """The parts of an event that are used."""

    id: str
    type: str
    data: dict[str, Any]


@workflow(access=anonymous(signed_by=stripe("stripe-hook")), secure_inputs=True)
async def stripe_payment(ctx: Context, event: Event) -> dict[str, str]:
    """Stripe sends an event again until it gets a 2xx: `event.id` is the same each time."""
    if event.type != "payment_intent.succeeded":
        return {"ignored": event.type}
    return {"paid": str(event.data["object"]["id"])}
