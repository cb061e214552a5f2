"""A call to a flow in Power Automate, which answers when an approver has decided. [triggers.approve-leave] has its
address and how to sign in there. The local tenant simulates the flow with its checks."""

from pydantic import BaseModel, Field

from postern import CallError, Context, Problem, tenant_users, workflow


class Leave(BaseModel):
    """The request body."""

    days: int = Field(ge=1, le=60)


@workflow(access=tenant_users(apps=False))
async def request_leave(ctx: Context, leave: Leave) -> dict[str, str | int | bool]:
    """Request leave, and wait for the decision."""
    try:
        decision = await ctx.call("approve-leave", {"employee": ctx.caller.name, "days": leave.days})
    except CallError as error:
        ctx.log.warning("approval-failed", status=error.status, called_run_id=error.run_id)
        raise Problem(502, "The approval could not be requested. Try again later.") from error
    return {"days": leave.days, "approved": decision["approved"], "by": decision["by"]}
