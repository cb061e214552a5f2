"""The workflow that `on_failure="tell-operators"` names. The server starts it, and callers cannot."""

from typing import Any

from postern import Context, specific_users, workflow


@workflow(access=specific_users("postern"), connections=["mail"])
async def tell_operators(ctx: Context, failure: dict[str, Any]) -> None:
    """Send a mail about a failed run."""
    text = f"{failure['workflow']} failed in run {failure['run_id']}: {failure['error']['type']}"
    response = await ctx.connection("mail").post("/send", json={"text": text})
    response.raise_for_status()
