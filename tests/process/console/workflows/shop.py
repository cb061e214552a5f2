"""Workflows that end in each way."""

import asyncio
from typing import Any

from pydantic import BaseModel

from postern import Context, Retry, specific_users, tenant_users, workflow

PATIENT = Retry(count=2, interval=0.05, minimum=0.01, maximum=0.1)


class Question(BaseModel):
    """A question."""

    text: str


async def find_rules() -> None:
    """Succeeds at once."""


async def ask_graph(text: str) -> str:
    """Answers one question only."""
    if text != "who pays":
        raise ConnectionError(f"no answer to {text!r}")
    return "the guest"


@workflow(access=tenant_users())
async def ask(ctx: Context, question: Question) -> str:
    """Ask a question, whose second step is tried three times."""
    await ctx.step(find_rules)
    return await ctx.step(ask_graph, question.text, retry=PATIENT)


@workflow(access=tenant_users())
async def quote(ctx: Context, question: Question) -> dict[str, str]:
    """Quote a price."""
    return {"text": question.text, "price": "12.50"}


@workflow(access=tenant_users(), timeout=600)
async def wait(ctx: Context) -> None:
    """Wait until it is cancelled."""
    await asyncio.sleep(600)


@workflow(access=specific_users("lisa"), secure_inputs=True, secure_outputs=True)
async def payslip(ctx: Context, question: Question) -> str:
    """Answer what no page may show."""
    return question.text[::-1]


@workflow(access=tenant_users())
async def order(ctx: Context, question: Question) -> Any:
    """Call two workflows, of which one fails."""
    ctx.connection("orders")
    await ctx.call("quote", {"text": question.text})
    return await ctx.call("ask", {"text": question.text})
