"""The workflows that are measured, as tools for agents."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Greeting(BaseModel):
    """What the caller sends."""

    name: str
    tags: list[str] = []


@workflow(access=tenant_users(), stateless=True, tool=True)
async def greet(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Greet by name."""
    return {"message": f"Hello, {greeting.name}!"}


@workflow(access=tenant_users(), tool=True)
async def greet_on_record(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Greet by name, and record the run before the reply is sent."""
    return {"message": f"Hello, {greeting.name}!"}
