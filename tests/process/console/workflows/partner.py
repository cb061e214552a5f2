"""A workflow for a sender that can send no token."""

from typing import Any

from postern import Context, anonymous, workflow


@workflow(access=anonymous(signed=True))
async def partner(ctx: Context, body: Any = None) -> str:
    """Takes orders of a partner."""
    return ctx.caller.name
