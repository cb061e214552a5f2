"""A webhook of GitHub, which signs each request with the secret `github-hook`."""

from postern import Context, anonymous, github, workflow


@workflow(access=anonymous(signed_by=github("github-hook")))
async def github_push(ctx: Context, event: dict[str, object]) -> dict[str, str]:
    """Note a push. GitHub sends the kind of the event in a header."""
    kind = ctx.request.headers.get("x-github-event", "")
    if kind != "push":
        return {"ignored": kind}
    return {"pushed": str(event.get("ref", ""))}
