"""Chance and time belong into steps: code between steps runs again when the run goes on after a wait or a crash."""

from datetime import UTC, datetime
from random import SystemRandom

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
async def draw_winner(ctx: Context, names: list[str]) -> dict[str, str]:
    """Draw a winner, and announce it a day later."""
    winner = await ctx.step(draw, names)
    drawn_at = await ctx.step(now)
    await ctx.sleep("1d")
    return {"winner": winner, "drawn_at": drawn_at.isoformat()}


def draw(names: list[str]) -> str:
    """One of the names."""
    return SystemRandom().choice(names)


def now() -> datetime:
    """The annotation makes the checkpoint a datetime again."""
    return datetime.now(UTC)
