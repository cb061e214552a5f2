"""A problem of your own: the caller reads it, with your status and text."""

from postern import Context, Problem, Reply, tenant_users, workflow

TAKEN = {3, 7}


@workflow(access=tenant_users(), path="/seats/{seat}", methods=["PUT"])
async def reserve_seat(ctx: Context, seat: int) -> Reply:
    """Reserve a seat."""
    if seat in TAKEN:
        raise Problem(409, "This seat is taken.", code="seat-taken", members={"seat": seat})
    return Reply(201, {"seat": seat})
