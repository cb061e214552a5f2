"""Grants in memory, runs of several people, and an API that says whose token came."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from postern.access import ANYONE, Caller, StartedBy
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.call_chain import Chain
from postern.connections import Connections
from postern.connections.calls.calls import Calls
from postern.connections.grants.rows import no_grant
from postern.connections.grants.runs import GrantsOfRuns
from postern.connections.grants.tokens import Access
from postern.http_client import AsyncBaseTransport, ByteStream, Response
from postern.http_client import Request as Sent
from postern.journal.grants import SHARED
from postern.settings import GrantedAuth, load_settings
from postern.trace import RUN
from tests.connections.counterparts import Waits

TENANT = "00000000-0000-0000-0000-0000000000aa"
PEOPLE = {name: f"00000000-0000-0000-0000-00000000000{number}" for number, name in enumerate(("lisa", "ada", "gil"))}
MARKER = "marker-of-a-grant"

TICKETS: dict[str, Any] = {
    "type": "oauth2",
    "flow": "authorization_code",
    "identity_provider": "github",
    "client_id": "app",
    "client_secret": {"key_vault": "github-app"},
    "per_user": True,
}
SALES = {**TICKETS, "identity_provider": "salesforce", "per_user": False}
API = "https://api.example/v1"


def owner(name: str) -> str:
    return f"{TENANT}/{PEOPLE[name]}" if name else SHARED


def person(name: str) -> Caller:
    return Caller("user", PEOPLE[name], TENANT, name=name.title())


APPLICATION = Caller("application", PEOPLE["lisa"], TENANT)


class Held:
    """Implements `store.Grants` for runs. `turn` is awaited at each step."""

    def __init__(self, *owners: str, base_url: str = "", turn: Callable[[], Awaitable[None]] | None = None) -> None:
        self.generations = dict.fromkeys(map(owner, owners), 1)
        self.base_url = base_url
        self.renews = True
        self.asked: list[tuple[str, str, str]] = []
        self.claims: list[str] = []
        self._turn = turn or _now

    async def access(self, name: str, owner: str) -> Access:
        self.asked.append(("access", name, owner))
        await self._turn()
        return self._of(name, owner)

    async def renewed(self, name: str, owner: str, refused: Access, claims: str = "") -> Access | None:
        self.asked.append(("renewed", name, owner))
        self.claims.append(claims)
        await self._turn()
        if self.renews and self.generations.get(owner) == refused.generation:
            self.generations[owner] += 1
        found = self._of(name, owner)
        return found if found.generation != refused.generation else None

    def _of(self, name: str, owner: str) -> Access:
        if owner not in self.generations:
            raise no_grant(name, "not-connected")
        generation = self.generations[owner]
        return Access(f"{MARKER}|{owner}|{generation}", generation, self.base_url)


async def _now() -> None:
    pass


def told(response: Response) -> str:
    """Whose token came, as the API says."""
    return str(response.json()["token"]).removeprefix(f"Bearer {MARKER}|").rpartition("|")[0]


class Echo(AsyncBaseTransport):
    """In place of the network: answers with the token that came, and 401 with `challenge` to those of `rejected`
    generations."""

    def __init__(self, turn: Callable[[], Awaitable[None]] | None = None) -> None:
        self.sent: list[Sent] = []
        self.rejected: set[str] = set()
        self.redirect = ""
        self.challenge = ""
        self._turn = turn or _now

    async def handle_async_request(self, request: Sent) -> Response:
        self.sent.append(request)
        await self._turn()
        token = request.headers.get("Authorization", "")
        if self.redirect:
            to, self.redirect = self.redirect, ""
            return Response(302, headers={"Location": to}, stream=ByteStream(b""))
        status = 401 if token.rpartition("|")[2] in self.rejected else 200
        headers = {"WWW-Authenticate": self.challenge} if status == 401 and self.challenge else {}
        return Response(status, headers=headers, json={"token": token})


@contextmanager
def granting(
    folder: Path, grants: Any, echo: Echo, may_connect: Callable[[Caller, bool], bool] = lambda _caller, _shared: True
) -> Iterator[Callable[..., Context]]:
    """Makes Contexts of runs whose connections use these grants. It is in use within one event loop."""
    settings = load_settings(
        {},
        folder=folder,
        defaults={
            "key_vault_url": "https://x.vault.azure.net",
            "azure_credential": "managed_identity",
            "public_url": "https://postern.example",
            "tenant_id": TENANT,
            "grants_key_name": "grants-key",
            "connections": {
                "tickets": {"base_url": API, "auth": TICKETS},
                "wiki": {"base_url": API, "auth": {**TICKETS, "per_user": False}},
                "gated": {"base_url": API, "auth": TICKETS, "headers": {"X-Gate": {"key_vault": "gate"}}},
                "sales": {"base_url": f"{API}?a=1".partition("?")[0], "auth": SALES},
            },
            "triggers": {"pay": {"url": "https://pay.example/run", "auth": TICKETS}},
        },
    )
    connections = Connections(settings, "", secrets=_Secrets(), retries=Waits().retries())
    connections.__dict__["_pool"] = echo
    connections.sign_in_of_runs(GrantedAuth, GrantsOfRuns(grants, may_connect).sign_in)
    calls = Calls(settings, dict, connections.open, lambda *_: None, home=connections.home)

    async def secret(name: str) -> str:
        raise LookupError(name)

    services = Services(secret, connections.of_run, structlog.get_logger("test"), call=calls.call)

    numbers = itertools.count(1)

    def run(caller: Caller = ANYONE, started_by: StartedBy = StartedBy.REQUEST, *, called: bool = False) -> Context:
        request = Request("POST", "/triggers/x", chain=Chain(1) if called else None)
        run_id = f"run-{next(numbers)}"
        RUN.set((run_id, None))  # as the runner does it
        return Context(request, caller, run_id, "x", services, started_by=started_by)

    try:
        yield run
    finally:
        calls.close()


class _Secrets:
    async def read(self, name: str) -> Any:
        from postern.connections.vault.secret import Secret

        return Secret(name, f"value-of-{name}")

    async def read_again(self, name: str, refused: str) -> Any:
        return await self.read(name)


class Schedule:
    """Lets tasks go on one at a time, in an order that a test chooses."""

    def __init__(self, order: list[int]) -> None:
        self._order = order
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def until(self, tasks: list["asyncio.Task[Any]"]) -> None:
        """Go on until all tasks are done."""
        step = 0
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._waiting:
                choice = self._order[step % len(self._order)] if self._order else 0
                self._waiting.pop(choice % len(self._waiting)).set_result(None)
                step += 1
