"""Read one's own profile from the directory, as the caller: through a connection that each person connects once."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class Profile(BaseModel):
    """What the directory has of the caller."""

    id: str
    name: str
    mail: str


@workflow(access=tenant_users(apps=False), connections=("my-profile",))
async def my_profile(ctx: Context) -> Profile:
    """Read the caller's own profile. A caller who has not connected `my-profile` gets a 424 with the page to do so."""
    me = (await ctx.connection("my-profile").get("/me")).raise_for_status().json()
    return Profile(id=me["id"], name=me["displayName"], mail=me["mail"])
