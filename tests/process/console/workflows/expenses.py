"""Durable workflows: one waits for a person, one for a signal, one fails."""

from typing import Any

from postern import Context, specific_users, tenant_users, workflow


def fail(text: str) -> None:
    """Fails each time."""
    raise ValueError(text)


@workflow(access=tenant_users(), durable=True)
async def expense(ctx: Context, claim: Any) -> str:
    """Ask ada or lisa for a decision."""
    decision = await ctx.approval("manager", who=specific_users("ada", "lisa"), timeout="30d", data=claim)
    return f"{decision.state}: {decision.comment}"


@workflow(access=tenant_users(), durable=True)
async def delivery(ctx: Context) -> str:
    """Wait for a signal."""
    signal = await ctx.wait_for("delivered", timeout="30d")
    return "delivered" if signal else "lost"


@workflow(access=tenant_users(), durable=True)
async def bound_to_fail(ctx: Context, text: str) -> None:
    """Fail in a step."""
    await ctx.step(fail, text)
