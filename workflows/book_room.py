"""A typed body and a relative path: POST /triggers/book-room/rooms/7 with {"start": …, "minutes": 30}."""

from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, Field

from postern import Context, Problem, Reply, tenant_users, workflow


class Booking(BaseModel):
    """The request body."""

    start: AwareDatetime
    minutes: int = Field(ge=15, le=480)


class Booked(BaseModel):
    """The response body."""

    room: int
    start: datetime
    end: datetime
    by: str


@workflow(access=tenant_users(apps=False), path="/rooms/{room}")
def book_room(ctx: Context, booking: Booking, room: int) -> Reply:
    """Book a meeting room."""
    if not 1 <= room <= 9:
        raise Problem(404, "There are rooms 1 to 9.")
    end = booking.start + timedelta(minutes=booking.minutes)
    return Reply(201, Booked(room=room, start=booking.start, end=end, by=ctx.caller.name))
