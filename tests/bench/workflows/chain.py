"""A chain of three: each hop is a workflow for users of the tenant, recorded, and calls the next one."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Greeting(BaseModel):
    """What the caller sends."""

    name: str
    tags: list[str] = []


@workflow(access=tenant_users())
async def third(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Greet by name."""
    return {"message": f"Hello, {greeting.name}!"}


@workflow(access=tenant_users())
async def second(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Have the third one greet."""
    message: dict[str, str] = await ctx.call("third", greeting)
    return message


@workflow(access=tenant_users())
async def first(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Have the second one have it greeted."""
    message: dict[str, str] = await ctx.call("second", greeting)
    return message


@workflow(access=tenant_users())
async def chain(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Begin a chain of three calls."""
    message: dict[str, str] = await ctx.call("first", greeting)
    return message


@workflow(access=tenant_users())
async def three(ctx: Context, greeting: Greeting) -> list[dict[str, str]]:
    """Make three calls, one after the other."""
    return [await ctx.call("third", greeting) for _ in range(3)]
