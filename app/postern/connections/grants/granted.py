"""A token that a person granted, in the requests of one run."""

import json
from collections.abc import AsyncIterator, Callable

from postern.connections.allowed_urls import secure
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.store import Grants
from postern.connections.grants.tokens import Access
from postern.connections.stage import Stage
from postern.http_client import URL, InvalidURL, Request


class Granted(SignIn):
    """Signs requests with the token of the grant `name` of this owner. `missing` completes the error of a grant that is
    missing or broken for the caller of the run.

    An object belongs to one client of one run and keeps nothing: what a credential is of is in the credential. So
    nothing of one owner can reach another here."""

    def __init__(
        self, entry: str, name: str, owner: str, grants: Grants, missing: Callable[[NoGrant], NoGrant]
    ) -> None:
        self._entry = entry
        self._name = name
        self._owner = owner
        self._grants = grants
        self._missing = missing

    async def credential(self) -> str:
        """The token, with its generation and the address that it is for, as JSON. Raises NoGrant, and
        ConnectionFault."""
        try:
            return _written(await self._grants.access(self._name, self._owner))
        except NoGrant as found:
            fault = self._missing(found)
        raise fault  # outside of the handler: the error that callers share is not its context

    def sign(self, request: Request, credential: str) -> None:
        """Put the token on the request. If the provider named an address for this grant, the request goes there: the
        author's own request keeps the address of the entry."""
        access = _read(credential)
        request.headers["Authorization"] = f"Bearer {access.token}"
        if access.base_url:
            request.url = moved(request.url, access.base_url, self._entry)
            request.headers["Host"] = request.url.netloc.decode("ascii")

    async def another(self, refused: str) -> str | None:
        """Another token after one was rejected, once for a request; None if there is none."""
        try:
            access = await self._grants.renewed(self._name, self._owner, _read(refused))
        except NoGrant as found:
            fault = self._missing(found)
        else:
            return _written(access) if access is not None else None
        raise fault

    async def try_out(self) -> AsyncIterator[Stage]:
        """Whether there is a token."""
        try:
            await self.credential()
        except ConnectionFault as fault:
            yield Stage("grant", passed=False, detail=fault.wrong, fix=fault.fix)
        else:
            yield Stage("grant", passed=True, detail="connected")


def moved(url: URL, base_url: str, entry: str) -> URL:
    """The same path and query at the origin of `base_url`. Raises ConnectionFault if that is no https origin (http is
    for loopback): it comes from the provider, and from the database."""
    try:
        base = URL(base_url)
        fits = secure(base) and not base.userinfo and base.raw_path in (b"", b"/") and not base.fragment
    except (InvalidURL, ValueError):
        fits = False
    if not fits:
        raise ConnectionFault(
            entry, "has a grant for an address that is no https origin", "Disconnect it, and connect it again"
        )
    return url.copy_with(scheme=base.scheme, host=base.host, port=base.port)


def _written(access: Access) -> str:
    return json.dumps((access.token, access.generation, access.base_url))


def _read(credential: str) -> Access:
    token, generation, base_url = json.loads(credential)
    return Access(token, generation, base_url)
