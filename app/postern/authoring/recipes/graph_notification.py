"""Change notifications of Microsoft Graph. `postern link graph-notification` makes the URL of the subscription."""

import hmac
from typing import Annotated, Any

from postern import Context, Problem, Query, Reply, anonymous, workflow

ValidationToken = Annotated[str, Query(alias="validationToken")]


@workflow(access=anonymous(signed=True), secrets=["graph-client-state"])
async def graph_notification(ctx: Context, body: Any = None, token: ValidationToken = "") -> Reply:
    """Answer the validation of a new subscription, or take its notifications."""
    if token:
        return Reply(200, token, {"Content-Type": "text/plain"})
    state = await ctx.secret("graph-client-state")
    changes = body["value"] if isinstance(body, dict) else []
    if not changes or not all(hmac.compare_digest(str(each.get("clientState")), state) for each in changes):
        raise Problem(403, "These notifications are not of our subscription.")
    for change in changes:
        ctx.log.info("changed", resource=change["resource"], kind=change["changeType"])
    return Reply(202)
