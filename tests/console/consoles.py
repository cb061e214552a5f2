"""A console in this process at the real local tenant, and browsers of people who sign in to it."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx2 import ASGITransport
from sqlalchemy import create_engine, text

from postern.assembly import Application, create_app
from postern.cli.workspace import local_defaults
from postern.http_client import AsyncClient, Response, http_client
from postern.local_tenant import LocalTenant
from postern.settings import load_settings
from tests.databases import put_sqlite

AT_LOOPBACK = "http://127.0.0.1:8080"
AT_HTTPS = "https://postern.example/base"
"""Where browsers reach a console. A proxy takes the path away."""

_NUMBERS = itertools.count(1)


@dataclass
class Console:
    """A running server with a console."""

    app: Application
    address: str
    local: LocalTenant
    entra: AsyncClient
    database_url: str

    @property
    def origin(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    def execute(self, statement: str) -> list[Any]:
        """The rows of a statement on the server's database, which is changed by it."""
        engine = create_engine(self.database_url)
        try:
            with engine.begin() as connection:
                found = connection.execute(text(statement))
                return list(found) if found.returns_rows else []
        finally:
            engine.dispose()

    def browser(self, address: str = "") -> "Browser":
        """A browser with no cookies, on a machine of its own unless `address` says which."""
        number = next(_NUMBERS)
        over_loopback = self.origin.startswith("http://")
        client = address or (f"127.0.{number // 250}.{number % 250 + 2}" if over_loopback else f"192.0.2.{number}")
        transport = ASGITransport(self.app, client=(client, 50_000), raise_app_exceptions=True)
        return Browser(self, http_client(base_url=self.origin, transport=transport), client)

    async def signed_in(self, who: str, to: str = "") -> "Browser":
        """A browser in which this person has signed in."""
        browser = self.browser()
        assert (await browser.sign_in(who, to)).status_code == 303
        return browser


@dataclass
class Browser:
    """A browser: it keeps cookies, and follows a redirect if it is told so."""

    console: Console
    client: AsyncClient
    address: str
    headers: dict[str, str] = field(default_factory=lambda: {"accept": "text/html"})

    async def get(self, path: str, **headers: str) -> Response:
        return await self.client.get(path, headers={**self.headers, **headers})

    async def post(
        self, path: str, headers: Mapping[str, str] | None = None, data: Mapping[str, str] | None = None
    ) -> Response:
        """A form of a page of the console, unless `headers` say otherwise."""
        own = {"sec-fetch-site": "same-origin", "origin": self.console.origin} if headers is None else headers
        return await self.client.post(path, data=data or {}, headers={**self.headers, **own})

    async def begin(self, to: str = "") -> str:
        """Begin a sign-in. Returns the address at Entra where the browser is sent."""
        began = await self.get("/console/sign-in" + (f"?to={to}" if to else ""))
        assert began.status_code == 302, began.text
        return str(began.headers["location"])

    async def choose(self, who: str, at_entra: str) -> str:
        """Click on a person there, or cancel (""). Returns the callback's path and query."""
        answered = await self.console.entra.post(at_entra, data={"person": who})
        assert answered.status_code == 303, answered.text
        location = str(answered.headers["location"])
        assert location.startswith(f"{self.console.address}/console/callback?")
        return location.removeprefix(self.console.address)

    async def sign_in(self, who: str, to: str = "") -> Response:
        """All of it. Returns what the callback answers."""
        return await self.get(await self.choose(who, await self.begin(to)))

    def cookie(self, name: str = "session") -> str:
        """The value of a cookie of the console; "" if there is none."""
        return next((each.value or "" for each in self.client.cookies.jar if f"postern-{name}" in each.name), "")


def prefix_of(address: str) -> str:
    """The path of a URL."""
    return urlsplit(address).path


def parameters(url: str) -> dict[str, str]:
    """The parameters of a URL, each of which occurs once."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


@asynccontextmanager
async def open_console(
    local: LocalTenant, folder: Path, address: str = AT_LOOPBACK, local_address: str = "", **settings: Any
) -> AsyncIterator[Console]:
    """A server with a console at this address. The workflows are the modules of the folder. A setting that is None is
    not set. With `local_address` the server knows that its tenant is a local one."""
    mine = {
        "workflows": str(folder),
        "database_url": put_sqlite(folder / ".journal.db"),
        "public_url": address,
        **settings,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_TENANT_ID", local.tenant_id)
        patch.setenv("AZURE_CLIENT_ID", local.applications["postern"].client_id)
        patch.setenv("AZURE_CLIENT_SECRET", local.client_secret("postern"))
        registered = {f"{address}/console/callback", f"{address}/console/signed-out"}
        before = set(local.sign_ins.redirect_uris)
        local.sign_ins.redirect_uris |= registered
        values = {name: value for name, value in (local_defaults(local) | mine).items() if value is not None}
        app = create_app(load_settings({}, folder=folder, defaults=values), local_address=local_address)
        try:
            async with app.router.lifespan_context(app), http_client(local.ca_bundle) as entra:
                yield Console(app, address, local, entra, str(mine["database_url"]))
        finally:
            local.sign_ins.redirect_uris.clear()
            local.sign_ins.redirect_uris.update(before)
