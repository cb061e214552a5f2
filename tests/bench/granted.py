"""What a grant adds to a call: the same request through a connection with a static key, and through one that a person
granted. `python -m tests.bench.granted` prints it. The store, the journal and the network on loopback are real."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Any

import structlog
from rich.console import Console
from rich.table import Table

from postern.access import Caller, StartedBy
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.connections import Connections
from postern.connections.grants.runs import GrantsOfRuns
from postern.connections.grants.seal import Seal
from postern.connections.grants.server_grants import ServerGrants
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.connections.vault.secret import Secret
from postern.journal.grants import owner_of
from postern.journal.journal import Journal
from postern.settings import GrantedAuth, load_settings
from postern.trace import RUN
from tests.connections.counterparts import always, listening
from tests.databases import make_tables

TENANT, LISA = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-000000000001"
KEY = {"key_vault": "api-key"}
GRANTED = {
    "type": "oauth2",
    "flow": "authorization_code",
    "identity_provider": "github",
    "client_id": "app",
    "client_secret": KEY,
}
AUTHS: dict[str, dict[str, Any]] = {
    "static key": {"type": "api_key", "header": "Authorization", "key": KEY},
    "granted, shared": GRANTED,
    "granted, per user": GRANTED | {"per_user": True},
}
ONE_BY_ONE, AT_ONCE = 1, 50


class Vault:
    """A secret and a key that are at hand."""

    async def read(self, name: str) -> Secret:
        return Secret(name, "value")

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)

    async def newest(self) -> tuple[str, bytes]:
        return "v1", b"k" * 32

    async def of(self, version: str) -> bytes:
        return b"k" * 32


def no_provider(name: str) -> Any:
    raise AssertionError(f"{name} was refreshed")


async def measure(rounds: int, calls: int, console: Console) -> None:
    """Print milliseconds of a call by connection, in rounds that take turns, and what a grant adds."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/journal.db"
        make_tables(url)
        journal = Journal(url)
        await journal.start()
        try:
            async with listening(always(200, b"{}", "Content-Type: application/json")) as api:
                await _measure(Path(folder), journal, api.url, rounds, calls, console)
        finally:
            await journal.aclose()


async def _measure(folder: Path, journal: Journal, api: str, rounds: int, calls: int, console: Console) -> None:
    vault = Vault()
    names = {kind: f"c{number}" for number, kind in enumerate(AUTHS)}
    entries = {names[kind]: {"base_url": api, "auth": auth} for kind, auth in AUTHS.items()}
    more = {"grants_key_name": "grants-key", "key_vault_url": "https://x.vault.azure.net"}
    web = {"azure_credential": "managed_identity", "public_url": "https://x.example", "tenant_id": TENANT}
    settings = load_settings({}, folder=folder, defaults={"connections": entries, **more, **web})
    connections = Connections(settings, "", secrets=vault)
    reads = 0

    async def read(operation: Callable[[Any], Any]) -> Any:
        nonlocal reads
        reads += 1
        return await journal.read(operation)

    grants = ServerGrants(read, journal.write, Seal(vault), no_provider, journal.node)
    connections.sign_in_of_runs(GrantedAuth, GrantsOfRuns(grants, lambda *_: True).sign_in)
    person = owner_of(TENANT, LISA)
    issued = Issued(GrantTokens("t" * 1200, "r" * 400), seconds=3600.0, account="4711", account_name="Lisa")
    for kind, owner in (("granted, shared", ""), ("granted, per user", person)):
        assert await grants.store(names[kind], owner, issued, person, (), f"consent-{time()}")
    services = Services(connections.secret, connections.of_run, structlog.get_logger("bench"))
    caller = Caller("user", LISA, TENANT)

    async def call(name: str) -> None:
        RUN.set(("run", None))
        ctx = Context(Request("POST", "/triggers/x"), caller, "run", "x", services, started_by=StartedBy.REQUEST)
        assert (await ctx.connection(name).get("/x")).status_code == 200

    table = Table(
        "connection", "calls at once", "ms for a call", "a grant adds ms", "reads of the database for each call"
    )
    for at_once in (ONE_BY_ONE, AT_ONCE):
        found: dict[str, list[float]] = {kind: [] for kind in AUTHS}
        counted = dict.fromkeys(AUTHS, 0)
        for _ in range(rounds):
            for kind in AUTHS:
                before = reads
                found[kind].append(await _round(lambda name=names[kind]: call(name), calls, at_once))  # type: ignore[misc]
                counted[kind] += reads - before
        plain = median(found["static key"])
        for kind, values in found.items():
            added = "" if kind == "static key" else f"{median(values) - plain:+.3f}"
            table.add_row(kind, str(at_once), f"{median(values):.3f}", added, f"{counted[kind] / (rounds * calls):.4f}")
    console.print(table)
    await grants.aclose()
    await connections.aclose()


async def _round(call: Callable[[], Awaitable[None]], calls: int, at_once: int) -> float:
    """Milliseconds of one call: of the whole round, divided by its calls."""
    await call()
    begun = perf_counter()
    for _ in range(calls // at_once):
        await asyncio.gather(*(call() for _ in range(at_once)))
    return (perf_counter() - begun) * 1000 / calls


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.granted", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=1000, help="calls of a round")
    options = parser.parse_args()
    asyncio.run(measure(options.rounds, options.calls, Console(highlight=False, width=120)))


if __name__ == "__main__":
    main()
