"""One token request: it makes a credential, uses it and closes it within a time limit, and reports problems as faults
of the entry. Azure is imported by the first request, not before."""

import asyncio
from typing import TYPE_CHECKING, Any

from postern.connections.auth.entra_errors import TokenDetails, advice_on, claims_of, codes_of
from postern.connections.faults import ConnectionFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

    from postern.azure_clients import Note

SECONDS = 30.0
"""The time limit of a token request. It includes azure-core's retries, which honour any `Retry-After`."""


class EntraRefused(ConnectionFault):
    """There is no token. `codes` are the AADSTS numbers of Entra's response; empty if it had none. `claims` is its
    challenge, which the next token has to meet, "" if there is none."""

    def __init__(self, entry: str, wrong: str, fix: str, codes: tuple[int, ...] = (), claims: str = "") -> None:
        super().__init__(entry, wrong, fix)
        self.codes = codes
        self.claims = claims


def deadline() -> float:
    """When a token request that starts now times out, on the event loop's clock."""
    return asyncio.get_running_loop().time() + SECONDS


async def request_token(
    entry: str,
    details: TokenDetails,
    scopes: tuple[str, ...],
    make: "Callable[[Note], AsyncTokenCredential]",
    until: float,
    claims: str = "",
    *,
    handles_challenges: bool = False,
) -> "AccessToken":
    """The token that the credential gets for the scopes, and for `claims` if an API asked for them. `make` runs in a
    thread, because importing Azure and checking a private key take about 100 ms each. `handles_challenges` tells Entra,
    and so the API, that claims challenges reach the person who can meet them (capability CP1). Raises EntraRefused."""
    status = 0

    def note(response: Any) -> None:
        nonlocal status
        status = response.http_response.status_code

    try:
        async with asyncio.timeout_at(until):
            credential = await asyncio.to_thread(make, note)
            async with credential:
                asked: dict[str, Any] = {"claims": claims} if claims else {}
                if handles_challenges:
                    asked["enable_cae"] = True
                return await credential.get_token(*scopes, **asked)
    except Exception as error:
        refused = EntraRefused(entry, *advice_on(error, status, details), codes_of(error), claims_of(error))
    raise refused  # outside of the handler: Azure's error, with all its texts, would become its context
