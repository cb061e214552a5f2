"""Events of Azure Event Grid, in its own schema and as CloudEvents. `postern link event-grid` makes the URL."""

from typing import Any

from postern import Context, Problem, Reply, anonymous, workflow

SENDER = "eventgrid.azure.net"


@workflow(access=anonymous(signed=True), methods=["POST", "OPTIONS"])
async def event_grid(ctx: Context, body: Any = None) -> Reply:
    """Answer the handshake of each schema, or take events."""
    if ctx.request.method == "OPTIONS":
        return allow(ctx.request.headers.get("webhook-request-origin", ""))
    events = body if isinstance(body, list) else [body] if isinstance(body, dict) else []
    if ctx.request.headers.get("aeg-event-type") == "SubscriptionValidation" and events:
        return Reply(200, {"validationResponse": events[0]["data"]["validationCode"]})
    for event in events:
        ctx.log.info("event", id=event["id"], kind=event.get("type") or event.get("eventType"))
    return Reply(200, {"taken": len(events)})


def allow(origin: str) -> Reply:
    """The handshake of CloudEvents: Event Grid may send, at any rate."""
    if origin != SENDER:
        raise Problem(403, "Only Azure Event Grid may send events here.")
    return Reply(200, None, {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "POST"})
