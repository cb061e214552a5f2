"""A token that a person granted, in the requests of one run."""

import json
import re
from collections.abc import AsyncIterator, Callable

from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.store import Grants
from postern.connections.grants.tokens import Access
from postern.connections.stage import Stage
from postern.http_client import URL, Request
from postern.trace import RUN

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ORIGIN = re.compile(rf"https://(?P<host>{_LABEL}(?:\.{_LABEL}){{1,9}})(?::(?P<port>[1-9][0-9]{{0,3}}))?/?", re.ASCII)


class Granted(SignIn):
    """Signs requests with the token of the grant `name` of this owner. `missing` completes the error of a grant that is
    missing or broken for the caller of the run. `domains` are those of the addresses that the provider may name for a
    grant. `run_id` is the only run that may use it, "" for all: a client that an author keeps in a global variable
    serves no other person's run. `in_progress` says whether that run has not ended: what it left behind does not go on
    as the person.

    An object belongs to one client of one run and keeps nothing: what a credential is of is in the credential. So
    nothing of one owner can reach another here."""

    def __init__(
        self,
        entry: str,
        name: str,
        owner: str,
        grants: Grants,
        missing: Callable[[NoGrant], NoGrant],
        domains: tuple[str, ...] = (),
        run_id: str = "",
        in_progress: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._entry = entry
        self._name = name
        self._owner = owner
        self._grants = grants
        self._missing = missing
        self._domains = domains
        self._run_id = run_id
        self._in_progress = in_progress

    async def credential(self) -> str:
        """The token, with its generation and the address that it is for, as JSON. Raises NoGrant, and
        ConnectionFault."""
        run = RUN.get()
        if self._run_id and (run is None or run[0] != self._run_id):
            fix = "Call ctx.connection in each run, and keep its client in no global variable"
            raise ConnectionFault(self._entry, "has a client of another run, which acts for one person only", fix)
        if self._run_id and not self._in_progress(self._run_id):
            fix = "Await each request before the workflow returns"
            raise ConnectionFault(self._entry, "acts for no person any more: the run has ended", fix)
        try:
            return _written(await self._grants.access(self._name, self._owner))
        except NoGrant as found:
            fault = self._missing(found)
        raise fault  # outside of the handler: the error that callers share is not its context

    def sign(self, request: Request, credential: str) -> None:
        """Put the token on the request. If the provider named an address for this grant, the request goes there: the
        author's own request keeps the address of the entry."""
        sign_with(request, _read(credential), self._entry, self._domains)

    async def another(self, refused: str) -> str | None:
        """Another token after one was rejected, once for a request; None if there is none."""
        return await self.answer(refused, "")

    async def answer(self, refused: str, claims: str) -> str | None:
        """Another token that was requested with these claims; None if there is none. Raises NoGrant if a person has to
        sign in again to meet them, and ConnectionFault."""
        try:
            access = await self._grants.renewed(self._name, self._owner, _read(refused), claims)
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


def sign_with(request: Request, access: Access, entry: str, domains: tuple[str, ...]) -> None:
    """Put a token on the copy of a request, which goes to the token's own address if it has one."""
    request.headers["Authorization"] = f"Bearer {access.token}"
    if access.base_url:
        request.url = moved(request.url, access.base_url, entry, domains)
        request.headers["Host"] = request.url.netloc.decode("ascii")


def moved(url: URL, base_url: str, entry: str, domains: tuple[str, ...]) -> URL:
    """The same path and query at the origin of `base_url`. Raises ConnectionFault if that is not https below one of the
    domains: it was checked when it came, and the database could have been changed since."""
    found = _ORIGIN.fullmatch(base_url)
    if found is None or not any(found["host"].lower().endswith(f".{domain}") for domain in domains):
        wrong = "has a grant for an address that is not of its provider"
        raise ConnectionFault(entry, wrong, "Disconnect it, and connect it again")
    return url.copy_with(scheme="https", host=found["host"], port=int(found["port"]) if found["port"] else None)


def _written(access: Access) -> str:
    return json.dumps((access.token, access.generation, access.base_url))


def _read(credential: str) -> Access:
    token, generation, base_url = json.loads(credential)
    return Access(token, generation, base_url)
