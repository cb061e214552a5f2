"""A form with a file, as a browser or `curl -F` sends it."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel

from postern import Context, Form, UploadFile, tenant_users, workflow


class Receipt(BaseModel):
    """The fields of the form."""

    amount: Decimal
    picture: UploadFile


@workflow(access=tenant_users(apps=False))
async def submit_receipt(ctx: Context, receipt: Annotated[Receipt, Form()]) -> dict[str, str | int]:
    """Submit a receipt with its picture."""
    picture = await receipt.picture.read()
    return {"amount": str(receipt.amount), "file": receipt.picture.filename or "", "bytes": len(picture)}
