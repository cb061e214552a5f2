"""The durable workflow whose 202s are measured."""

from greet import Greeting

from postern import Context, tenant_users, workflow


@workflow(access=tenant_users(), durable=True)
async def greet_later(ctx: Context, greeting: Greeting) -> dict[str, str]:
    """Greet by name, after the reply."""
    return {"message": f"Hello, {greeting.name}!"}
