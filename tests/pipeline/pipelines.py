"""The triggers that tests call: one workflow for each access mode and option, in a real application."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from httpx2 import ASGITransport

from postern.assembly import create_app
from postern.http_client import AsyncClient, Response, http_client
from postern.ids import new_id
from postern.journal.database.engine import open_engine
from postern.journal.revocations import Revocation, Rule, make
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings
from tests.databases import put_sqlite

TRIGGERS = {
    "anonymous": "anonymous()",
    "tenant_users": "tenant_users()",
    "specific": "specific_users('lisa')",
    "people": "tenant_users(apps=False)",
    "members": "tenant_users(guests=False)",
    "role": "tenant_users(roles=['Workflow.Run'])",
    "scope": "tenant_users(scopes=['user_impersonation'])",
    "client": "tenant_users(clients=['99999999-9999-9999-9999-999999999999'])",
    "agents": "tenant_users(agents=False)",
}

MODULE = """
from postern import Context, anonymous, specific_users, tenant_users, workflow
from tests.pipeline.pipelines import RAN

"""

WORKFLOW = """
@workflow(access={access}, name="{url_name}")
async def at_{name}(ctx: Context) -> str:
    RAN.append("{name}")
    return "came in"

"""

RAN: list[str] = []
"""The triggers whose workflow ran."""


@dataclass(frozen=True)
class Pipelines:
    """A running application behind a client."""

    client: AsyncClient
    ran: list[str]

    async def post(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Response:
        """POST to a trigger with exactly these headers."""
        return await self.client.post(f"/triggers/{name.replace('_', '-')}", headers=list(headers))


def settings_for(local: LocalTenant, workflows: Path, **more: Any) -> Settings:
    """The settings of an installation whose tenant is the local one."""
    values = {
        "tenant_id": local.tenant_id,
        "audience": list(local.audiences),
        "authority": local.authority,
        "ca_bundle": str(local.ca_bundle),
        "people": dict(local.people),
        "workflows": str(workflows),
        "database_url": put_sqlite(workflows / ".journal.db"),
        **more,
    }
    return load_settings({}, folder=workflows, defaults=values)


def defaults_for(workflows: Path) -> dict[str, str]:
    """The settings of an installation of these anonymous workflows only."""
    return {"workflows": str(workflows), "database_url": put_sqlite(workflows / ".journal.db")}


def revoke(url: str, rules: Iterable[Rule]) -> None:
    """Write revocations into a database with tables, as an operator did before the server started."""
    engine = open_engine(url, writing=True)
    with engine.begin() as connection:
        for rule in rules:
            assert make(connection, Revocation(new_id(), rule, "", "", "{}", rule.not_before))
    engine.dispose()


@asynccontextmanager
async def open_triggers(local: LocalTenant, revoked: Iterable[Rule] = ()) -> AsyncIterator[Pipelines]:
    """Start the application with all triggers, and these revocations."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        text = MODULE + "".join(
            WORKFLOW.format(access=access, name=trigger, url_name=trigger.replace("_", "-"))
            for trigger, access in TRIGGERS.items()
        )
        (folder / "triggers.py").write_text(text, encoding="utf-8")
        settings = settings_for(local, folder)
        revoke(settings.database_url, revoked)
        app = create_app(settings)
        assert not app.catalog.snapshot.faults
        async with (
            app.router.lifespan_context(app),
            http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
        ):
            RAN.clear()
            yield Pipelines(client, RAN)
