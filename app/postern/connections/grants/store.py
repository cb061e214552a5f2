"""The grants that this server process uses: hands out tokens, and renews each once however many processes ask.

The rules of renewing are those of `../GRANTS.md`, "How tokens are renewed". `server_grants.py` implements it.
"""

from typing import Protocol

from postern.connections.grants.tokens import Access, Issued


class Grants(Protocol):
    """`name` is a grant's name (`journal.grants.grant_name`), `owner` who it belongs to."""

    async def access(self, name: str, owner: str) -> Access:
        """A token that is good for a minute, or the best there is. Raises NoGrant, and ConnectionFault."""

    async def renewed(self, name: str, owner: str, refused: Access, claims: str = "") -> Access | None:
        """Another token, after an API rejected this one with 401, that was requested with the `claims` of its challenge
        (JSON); None if there is none. If a person has to meet them, the grant is broken. Raises what `access` does."""

    async def store(self, name: str, owner: str, issued: Issued, by: str, asked: tuple[str, ...], consent: str) -> bool:
        """Store what a consent gave. `by` is the person ("tenant/object"), `asked` the scopes of the request, and
        `consent` its id. False if the owner's grant is of another account or tenant; nothing is stored then."""

    async def disconnect(self, name: str, owner: str) -> str:
        """End a grant: at the provider if it can be, and here in any case. Returns what the person has to know, "" if
        it is ended everywhere."""

    async def run(self) -> None:
        """Renew in the background, until cancelled."""

    async def aclose(self) -> None:
        """The server stops: wait for the refreshes in progress, so that what the provider issued is written. The
        journal is open meanwhile."""
