"""The smallest workflow: anyone may call it."""

from postern import Context, anonymous, workflow


@workflow(access=anonymous())
async def hello(ctx: Context) -> dict[str, str]:
    """Say hello to anyone."""
    return {"message": "Hello from Postern"}
