"""Webhooks of a SharePoint list. A notification says that a list has changed, and not what: ask the list for it."""

import hmac
from typing import Annotated

from pydantic import BaseModel, Field

from postern import Context, Problem, Query, Reply, anonymous, workflow


class Change(BaseModel):
    """One notification."""

    subscription: str = Field(alias="subscriptionId")
    state: str = Field("", alias="clientState")
    list_id: str = Field(alias="resource")
    site: str = Field(alias="siteUrl")


class Changes(BaseModel):
    """What SharePoint sends."""

    value: list[Change]


@workflow(access=anonymous(signed=True), secrets=["sharepoint-client-state"])
async def sharepoint_changes(
    ctx: Context, changes: Changes | None = None, validationtoken: Annotated[str, Query()] = ""
) -> Reply:
    """Answer the validation of a new subscription, or take its notifications."""
    if validationtoken:
        return Reply(200, validationtoken, {"Content-Type": "text/plain"})
    state = await ctx.secret("sharepoint-client-state")
    found = changes.value if changes else []
    if not found or not all(hmac.compare_digest(each.state, state) for each in found):
        raise Problem(403, "These notifications are not of our subscription.")
    return Reply(200, {"changed": sorted({each.list_id for each in found})})
