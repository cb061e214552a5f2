"""Find people in the directory by name, through a connection that authenticates its requests."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Search(BaseModel):
    """The request body."""

    name: str


@workflow(access=tenant_users())
async def find_people(ctx: Context, search: Search) -> list[dict[str, str]]:
    """Find people whose name begins with the given text."""
    graph = ctx.connection("graph")
    name = search.name.replace("'", "''")  # OData's own escape
    found = await graph.get("/users", params={"$filter": f"startswith(displayName,'{name}')"})
    people = found.raise_for_status().json()["value"]
    return [{"id": person["id"], "name": person["displayName"]} for person in people]
