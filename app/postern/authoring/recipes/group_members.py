"""All pages of a list of Microsoft Graph, through the connection `graph`."""

from postern import Context, tenant_users, workflow

MOST = 100


@workflow(access=tenant_users(), path="/{group}", methods=["GET"], connections=["graph"])
async def group_members(ctx: Context, group: str) -> list[str]:
    """The names of the members of a group."""
    graph = ctx.connection("graph")
    names: list[str] = []
    url = f"/groups/{group}/members?$select=displayName&$top=100"
    for _ in range(MOST):
        page = (await graph.get(url)).raise_for_status().json()
        names += [member["displayName"] for member in page["value"]]
        url = page.get("@odata.nextLink", "")
        if not url:
            return names
    raise RuntimeError(f"the group has more than {MOST} pages of members")
