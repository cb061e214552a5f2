"""An expense with its receipts, as a browser's form sends it."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

from postern import Context, Form, UploadFile, tenant_users, workflow


class Expense(BaseModel):
    title: str
    amount: Decimal = Field(gt=0)
    receipts: list[UploadFile] = Field(min_length=1)
    note: str = ""


@workflow(access=tenant_users(apps=False), max_body_bytes=20 * 1024 * 1024)
async def expense(ctx: Context, expense: Annotated[Expense, Form(max_files=5)]) -> dict[str, int]:
    """Hand in an expense with its receipts."""
    sizes = {}
    for receipt in expense.receipts:
        content = await receipt.read()
        sizes[receipt.filename or "unnamed"] = len(content)
    return sizes
