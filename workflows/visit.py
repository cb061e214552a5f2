"""A chain of three workflows, each with its own access mode: anyone registers, the tenant books, and only Postern
itself issues badges. `postern` in [people] is its service principal; the local tenant has it already."""

from typing import Any

from pydantic import BaseModel, Field

from postern import Context, anonymous, specific_users, tenant_users, workflow


class Visitor(BaseModel):
    """A visitor."""

    name: str = Field(min_length=1, max_length=100)


class Seated(Visitor):
    """A visitor with a desk."""

    desk: int


@workflow(access=anonymous())
async def register_visitor(ctx: Context, visitor: Visitor) -> Any:
    """Register a visitor, who gets a desk and a badge."""
    return await ctx.call("book-desk", {"name": visitor.name})


@workflow(access=tenant_users())
async def book_desk(ctx: Context, visitor: Visitor) -> Any:
    """Book a desk, and have a badge issued for it."""
    return await ctx.call("issue-badge", {"name": visitor.name, "desk": 7})


@workflow(access=specific_users("postern"))
async def issue_badge(ctx: Context, seated: Seated) -> dict[str, str | int]:
    """Issue a badge."""
    return {"badge": f"V-{seated.desk:03}", "name": seated.name, "desk": seated.desk, "by": ctx.caller.kind}
