"""Sends one request to a provider, within limits of time and size. No redirect is followed, and no cookie is sent."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from postern.connections.auth.token_response import Answer
from postern.connections.entry_client import OWN_LIMIT
from postern.connections.faults import ConnectionFault
from postern.connections.grants.awake import awake_timeout
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.reasons import REASONS
from postern.connections.unreached import remedy
from postern.http_client import URL, AsyncClient, HTTPError, InvalidURL
from postern.transient_errors import retry_after

SECONDS = 15.0
"""How long one request may take: a person waits for it, and a run."""
MAX_ANSWER_BYTES = 131_072
NOW: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Received:
    """A response, and the seconds after which the provider wants the next request."""

    answer: Answer
    retry_after: float | None = field(default=None)


async def send(
    http: AsyncClient,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: str = "",
    seconds: float | None = None,
) -> Received:
    """Send the request. Raises RefusedByProvider with the code "" if there is no response."""
    seconds = SECONDS if seconds is None else seconds
    try:
        async with awake_timeout(seconds):
            return await _sent(http, method, url, headers, body)
    except TimeoutError:
        wrong, fix = f"gets no response from the provider within {seconds:g} s", ""
    except ConnectionFault as fault:  # of the transport, which does not know the entry
        wrong, fix = f"does not reach the provider, whose address {fault.wrong}", fault.fix
    except (HTTPError, InvalidURL, OSError, ValueError) as error:
        wrong, fix = f"does not reach the provider ({type(error).__name__})", remedy(error)
    reason = "provider-unavailable"
    raise RefusedByProvider(wrong, fix or REASONS[reason].fix, "", reason)  # outside: the context has the request


async def _sent(http: AsyncClient, method: str, url: str, headers: Mapping[str, str], body: str) -> Received:
    request = http.build_request(
        method, URL(url), content=body.encode() if body else None, headers=dict(headers), timeout=None
    )
    request.headers.pop("Cookie", None)
    request.extensions[OWN_LIMIT] = True
    response = await http.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        read = bytearray()
        async for part in response.aiter_raw():
            read += part
            if len(read) > MAX_ANSWER_BYTES:
                reason = "provider-rejects"
                wrong = f"gets more than {MAX_ANSWER_BYTES} bytes in place of tokens"
                raise RefusedByProvider(wrong, REASONS[reason].fix, "", reason)
    finally:
        await response.aclose()
    return Received(Answer(response.status_code, bytes(read)), retry_after(response, NOW()))
