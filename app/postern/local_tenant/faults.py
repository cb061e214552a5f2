"""Simulated faults: throttling, outages and errors, switched on and off while the tenant is served."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postern.local_tenant.errors import error_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(slots=True)
class Part:
    """One part of the tenant: the number of requests that it got, and its simulated fault. A fault holds for the next
    `times` requests, or until `restore()` if that is None."""

    requests: int = 0
    status: int = 0
    retry_after: int | None = None
    code: int = 0
    silent: bool = False
    times: int | None = None

    def throttle(self, *, times: int | None = None, retry_after: int | None = 1) -> None:
        """Respond with 429 (too many requests), and `Retry-After` in seconds."""
        self._switch(429, times)
        self.retry_after = retry_after

    def fail(self, status: int = 503, *, times: int | None = None) -> None:
        """Respond with an error status."""
        self._switch(status, times)

    def refuse(self, code: int, status: int = 400, *, times: int | None = None) -> None:
        """Respond with an AADSTS code, for the token endpoint."""
        self._switch(status, times)
        self.code = code

    def hang(self) -> None:
        """Accept requests and send no response. Requests before `restore()` never get one."""
        self.restore()
        self.silent = True

    def restore(self) -> None:
        """End all faults."""
        self.status = self.code = 0
        self.retry_after = self.times = None
        self.silent = False

    def counted(self) -> bool:
        """Count a request, and return whether it gets a fault."""
        self.requests += 1
        if self.times is None:
            return self.status > 0
        if self.times <= 0:
            return False
        self.times -= 1
        return True

    def _switch(self, status: int, times: int | None) -> None:
        self.restore()
        self.status, self.times = status, times


@dataclass(slots=True)
class Faults:
    """The parts that can fail: Entra's token endpoint, its sign-in of people (`sign_in.refuse(code)`), its exchange of
    tokens on behalf of a caller (`on_behalf_of.refuse(code)`), the Key Vault, and the managed identity endpoint."""

    entra: Part = field(default_factory=Part)
    sign_in: Part = field(default_factory=Part)
    on_behalf_of: Part = field(default_factory=Part)
    vault: Part = field(default_factory=Part)
    identity: Part = field(default_factory=Part)


_PATHS = (
    (re.compile(r"/[^/]+/oauth2/v2\.0/token"), "entra"),
    (re.compile(r"/secrets/.*"), "vault"),
    (re.compile(r"/msi/token"), "identity"),
)


class Faulty:
    """An ASGI application with simulated faults in some of its parts."""

    def __init__(self, app: "ASGIApp", faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Respond with the part's fault if there is one, else as the application does."""
        name = _part_of(scope["path"]) if scope["type"] == "http" else None
        if name is not None:
            part: Part = getattr(self._faults, name)
            if part.counted():
                from starlette.responses import JSONResponse  # what a command that makes a token does not need

                headers = {} if part.retry_after is None else {"Retry-After": str(part.retry_after)}
                response = JSONResponse(_DOCUMENTS[name](part), part.status, headers=headers)
                await response(scope, receive, send)
                return
            if part.silent:
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
        await self._app(scope, receive, send)


def _part_of(path: str) -> str | None:
    return next((name for pattern, name in _PATHS if pattern.fullmatch(path)), None)


def _entra(part: Part) -> dict[str, Any]:
    code = part.code or (90055 if part.status == 429 else 90033)  # TenantThrottlingError, a transient error
    error = error_of(part.code) if part.code else "temporarily_unavailable"
    return {"error": error, "error_description": f"AADSTS{code}: This fault was switched on.", "error_codes": [code]}


def _key_vault(part: Part) -> dict[str, Any]:
    code = "Throttled" if part.status == 429 else "ServiceUnavailable"
    return {"error": {"code": code, "message": "This fault was switched on."}}


def _identity(part: Part) -> dict[str, Any]:
    return {"statusCode": part.status, "message": "This fault was switched on."}


_DOCUMENTS: dict[str, Callable[[Part], dict[str, Any]]] = {
    "entra": _entra,
    "vault": _key_vault,
    "identity": _identity,
}
