"""The result of a durable run, for a command that called its trigger and got a 202."""

import asyncio
import re
from collections.abc import Callable, Mapping

from postern.cli.terminal import err, program
from postern.http_client import URL, AsyncClient, Response

WAIT = 20
"""Seconds for which each request waits for the result."""
MOST_PAUSE = 10.0
"""Seconds between two requests, if the server asks for a longer pause."""

_PLACE = re.compile(r"/runs/([0-9a-f-]{36})/result")


def place_of(response: Response) -> str:
    """The path of the result of a run that was accepted; "" for any other response. A workflow may reply 202 too."""
    location = response.headers.get("location", "") if response.status_code == 202 else ""
    found = _PLACE.fullmatch(location)
    return location if found is not None and found[1] == response.headers.get("x-run-id") else ""


async def result_of(
    client: AsyncClient, server: str, accepted: Response, headers: Callable[[], Mapping[str, str]]
) -> Response:
    """The response with the result, after as many requests as it takes. `headers` are those of the caller, new for each
    request, because a token expires. Any other response than a result is returned too."""
    place = place_of(accepted)
    run_id = accepted.headers["x-run-id"]
    err.print(
        f"Accepted as the run {run_id}. Waiting for its result. Ctrl-C ends the waiting, and the run goes on: "
        f"{program()} runs follow {run_id}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    while True:
        asked = {**headers(), "Prefer": f"wait={WAIT}"}
        response = await client.get(URL(server + place), headers=asked, timeout=WAIT + 10.0)
        if response.status_code != 202 or response.headers.get("location") != place:
            return response  # also where the result itself is a 202
        if "preference-applied" not in response.headers:
            await asyncio.sleep(_pause(response.headers.get("retry-after", "")))


def _pause(seconds: str) -> float:
    return min(MOST_PAUSE, max(1.0, float(seconds))) if seconds.isdecimal() else 1.0
