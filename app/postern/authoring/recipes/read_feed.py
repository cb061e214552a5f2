"""A workflow that uses a package of its own: `workflows/requirements.txt` names it."""

import yaml

from postern import Context, Problem, tenant_users, workflow


@workflow(access=tenant_users())
async def read_feed(ctx: Context) -> object:
    """Turn YAML into JSON. The body is text, so there is no parameter for it."""
    try:
        return yaml.safe_load(ctx.request.body)
    except yaml.YAMLError as error:
        raise Problem(400, "The body is not YAML.") from error
