"""A search that is called by GET, with its parameters in the query and the header."""

from typing import Annotated

from pydantic import Field

from postern import Context, Header, Query, tenant_users, workflow

ROOMS = {"north": ["Ash", "Birch", "Cedar"], "south": ["Elm"]}


@workflow(access=tenant_users(), methods=["GET"])
async def find_rooms(
    ctx: Context,
    site: Annotated[str, Query()],
    page: Annotated[int, Query(), Field(ge=1)] = 1,
    size: Annotated[int, Query(alias="page-size"), Field(ge=1, le=100)] = 2,
    accept_language: Annotated[str, Header()] = "en",
) -> dict[str, object]:
    """Find rooms of a site."""
    found = ROOMS.get(site, [])[(page - 1) * size : page * size]
    return {"rooms": found, "language": accept_language}
