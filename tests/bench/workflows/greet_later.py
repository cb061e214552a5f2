"""The durable workflow whose 202s are measured, with the same body."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Greeting(BaseModel):
    """What the caller sends."""

    name: str
    tags: list[str] = []


@workflow(access=tenant_users(), durable=True)
async def greet_later(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Greet by name, after the reply."""
    return {"message": f"Hello, {greeting.name}!"}
