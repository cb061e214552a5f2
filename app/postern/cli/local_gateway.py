"""The gateway `local` of `postern dev`: its agent runs in the same process, so entries by a gateway can be tried on a
laptop. It opens the addresses of those entries, and no others."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from postern.gateway.agent.agent import Agent
from postern.gateway.agent.settings import AgentSettings
from postern.gateway.agent.sign_in import Token
from postern.gateway.policy import ROLE
from postern.local_tenant import LocalTenant
from postern.settings import Gateway, Settings
from postern.settings.descriptions import entries

LOCAL = "local"
APPLICATION = "backup-job"
"""The application of the local tenant that the agent signs in as."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECONDS = 3600.0
STOP_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}


def with_local_agent(settings: Settings, local: LocalTenant) -> Settings:
    """The settings whose gateway `local`, if there is one, admits the agent of this process and no other."""
    if LOCAL not in settings.gateways:
        return settings
    gateway = Gateway(agents=(local.who(APPLICATION).object_id,))
    return settings.model_copy(update={"gateways": {**settings.gateways, LOCAL: gateway}})


def rows(settings: Settings) -> Iterator[dict[str, Any]]:
    """What the agent may open: the addresses of the entries by this gateway, each with its own authorities."""
    known: set[tuple[str, bool]] = set()
    for found in entries(settings).values():
        urls = [found.url if hasattr(found, "url") else found.base_url] if found.gateway == LOCAL else []
        if getattr(found.auth, "gateway", None) == LOCAL and getattr(found.auth, "token_url", None):
            urls.append(str(getattr(found.auth, "token_url", "")))
        for url in urls:
            parts = urlsplit(url)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
            address = f"{host}:{parts.port or _PORTS[parts.scheme]}"
            reads = found.gateway == LOCAL and found.tls == "gateway"
            if (address, reads) not in known:
                known.add((address, reads))
                read = {"scheme": parts.scheme, "methods": METHODS, "paths": ("/",)} if reads else {}
                yield {"address": address, **read}


class _OfLocalTenant:
    """Tokens of the local tenant."""

    def __init__(self, local: LocalTenant) -> None:
        self._local = local

    async def get(self) -> Token:
        """A new token."""
        return Token(self._local.token(APPLICATION, roles=[ROLE]), time.time() + SECONDS)

    def forget(self, token: Token) -> None:
        """Do nothing: each token is new."""


class LocalAgent:
    """The agent, in a thread with an event loop of its own."""

    def __init__(self, settings: Settings, local: LocalTenant, address: str) -> None:
        own = AgentSettings.model_validate(
            {
                "name": LOCAL,
                "agent": "dev",
                "server": address,
                "status_port": 0,
                "tenant_id": local.tenant_id,
                "audience": local.audiences[0],
                "sign_in": {"managed_identity": True},
                "allow": tuple(rows(settings)),
                **({"ca_bundle": Path(settings.ca_bundle)} if settings.ca_bundle else {}),
            }
        )
        self._agent = Agent(own, lambda: own, tokens=_OfLocalTenant(local))
        self._loop = asyncio.SelectorEventLoop()  # as an agent has it
        self._thread = threading.Thread(target=self._run, name="gateway agent", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End its links, and its thread."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._agent.run())
        try:
            self._loop.run_until_complete(asyncio.wait([self._task]))
        finally:
            self._loop.close()
