"""One request for a token: a credential is made, asked and closed within a time limit, and what goes wrong is told as
a fault of the entry. Azure is imported by the first request, not before."""

import asyncio
from typing import TYPE_CHECKING, Any

from postern.connections.auth.entra_errors import Asked, codes_of, told
from postern.connections.faults import ConnectionFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

    from postern.connections.azure_clients import Note

SECONDS = 30.0
"""The time that there is for a token, with every retry of azure-core's, which honours any `Retry-After`."""


class EntraRefused(ConnectionFault):
    """There is no token. `codes` are the AADSTS numbers of Entra's answer, none where it gave none."""

    def __init__(self, entry: str, wrong: str, fix: str, codes: tuple[int, ...] = ()) -> None:
        super().__init__(entry, wrong, fix)
        self.codes = codes


def deadline() -> float:
    """Until when a token that is wanted now has to be there, on the event loop's clock."""
    return asyncio.get_running_loop().time() + SECONDS


async def request_token(
    entry: str, asked: Asked, scopes: tuple[str, ...], make: "Callable[[Note], AsyncTokenCredential]", until: float
) -> "AccessToken":
    """The token that the credential gives for the scopes. `make` runs in a thread, because importing Azure and checking
    a private key take some 100 ms each. Raises EntraRefused."""
    status = 0

    def note(response: Any) -> None:
        nonlocal status
        status = response.http_response.status_code

    try:
        async with asyncio.timeout_at(until):
            credential = await asyncio.to_thread(make, note)
            async with credential:
                return await credential.get_token(*scopes)
    except Exception as error:
        refused = EntraRefused(entry, *told(error, status, asked), codes_of(error))
    raise refused  # not while Azure's error is handled, which would hang on it with all its texts
