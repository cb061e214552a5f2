"""`postern token`: a valid or an invalid token of the local tenant, for testing access."""

from typing import Annotated, Any, Literal

import typer

from postern.cli.terminal import fail
from postern.cli.workspace import workspace
from postern.local_tenant import LocalTenant
from postern.local_tenant.claims_request import condition_claims
from postern.local_tenant.tokens import facets_of


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(token)


def token(
    who: Annotated[str, typer.Option("--as", help="A person or application of the local tenant.")] = "ada",
    audience: Annotated[str | None, typer.Option(help="The audience. Default: this server's.")] = None,
    v1: Annotated[bool, typer.Option("--v1", help="A token of version 1.0.")] = False,
    expired: Annotated[bool, typer.Option("--expired", help="An expired token.")] = False,
    wrong_audience: Annotated[bool, typer.Option("--wrong-audience", help="A token for another API.")] = False,
    other_tenant: Annotated[
        bool, typer.Option("--other-tenant", help="A token of a tenant that is not configured.")
    ] = False,
    auth_context: Annotated[
        list[str] | None,
        typer.Option(help="An authentication context that the sign-in met: its id, or its name in auth_contexts."),
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="An agent of the local tenant, which acts on behalf of the person."),
    ] = None,
    cp1: Annotated[bool, typer.Option("--cp1", help="The client handles claims challenges.")] = False,
) -> None:
    """Print an access token of the local tenant. No other system accepts it."""
    here = workspace()
    if here.local is None:
        fail(
            "postern token makes tokens of the local tenant, but POSTERN_TENANT_ID is set to a real one. "
            "Request one from Entra: az account get-access-token --scope <audience>/.default"
        )
        raise typer.Exit(2)
    conditions = condition_claims(
        [here.settings.auth_contexts.get(each, each) for each in auth_context or ()], ["cp1"] if cp1 else []
    )
    try:
        through = {} if agent is None else _through(here.local, who, agent, version=1 if v1 else 2)
        minted = here.local.token(
            who,
            audience=audience,
            version=1 if v1 else 2,
            expired=expired,
            wrong_audience=wrong_audience,
            other_tenant=other_tenant,
            more={**conditions, **through},
        )
    except LookupError as unknown:
        fail(str(unknown.args[0]))
        raise typer.Exit(2) from None
    typer.echo(minted)


def _through(local: LocalTenant, who: str, agent: str, *, version: Literal[1, 2]) -> dict[str, Any]:
    """The claims of a person's token that an agent requested. Raises LookupError if one of the two is something
    else."""
    agents = {name: each for name, each in local.applications.items() if each.blueprint}
    if agent not in agents:
        raise LookupError(f"{agent!r} is no agent of the local tenant; it has {', '.join(agents)}")
    client, person = agents[agent], local.who(who)
    if who not in local.people:
        raise LookupError(f"{who} is an application: --agent is for people. An agent's own token: --as {agent}")
    names = ("azp", "azpacr") if version == 2 else ("appid", "appidacr")
    return {**dict(zip(names, (client.client_id, "1"), strict=True)), **facets_of(client, person)}
