"""Looks callers up in the directory: Microsoft Graph, by the connection `graph`, which signs in as the application.

Reference: learn.microsoft.com/graph/json-batching, user-get and serviceprincipal-get. It needs the application
permissions User.Read.All and Application.Read.All.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from postern.access.directory import DirectoryObject, Looked
from postern.connections.connections import Connections
from postern.connections.faults import ConnectionFault
from postern.http_client import AsyncClient, HTTPError
from postern.settings import EntraAuth, Settings

GRAPH = "graph"
MOST = 2000
"""Object ids that are looked up at once."""
BATCH = 20
"""Requests in a batch: the most that Graph takes."""
AT_ONCE = 4
SECONDS = 30.0

_USER, _APPLICATION = "users", "servicePrincipals"
_SELECT = {
    _USER: "id,displayName,userType,accountEnabled",
    _APPLICATION: "id,displayName,appId,accountEnabled",
}
_PERMISSION = {_USER: "User.Read.All", _APPLICATION: "Application.Read.All"}


class _NotFound(Exception):
    """The directory could not be asked. The message says why, and what to do."""


async def look_up(ids: Sequence[str], settings: Settings, authority: str) -> Looked:
    """What the directory says of these object ids, with connections of its own. It never raises."""
    connections = Connections(settings, authority)
    try:
        return await look_up_with(ids, settings, connections.client)
    finally:
        await connections.aclose()


async def look_up_with(ids: Sequence[str], settings: Settings, client: Callable[[str], AsyncClient]) -> Looked:
    """The same with a client of `[connections.NAME]`."""
    entry = settings.connections.get(GRAPH)
    if entry is None:
        return Looked({}, "names were not looked up: postern.toml has no [connections.graph]")
    if not isinstance(entry.auth, EntraAuth):
        return Looked({}, "names were not looked up: [connections.graph] does not sign in as the application")
    try:
        graph = client(GRAPH)
        root = "" if graph.base_url.path.strip("/") else "/v1.0"
        async with asyncio.timeout(SECONDS):
            objects = await _both(graph, root, ids[:MOST])
    except ConnectionFault as fault:
        return Looked({}, f"names were not looked up: {fault.entry} {fault.wrong}. {fault.fix}")
    except _NotFound as fault:
        return Looked({}, f"names were not looked up: {fault}")
    except TimeoutError:
        return Looked({}, f"names were not looked up: the directory did not answer within {SECONDS:g} s")
    except HTTPError as error:
        return Looked({}, f"names were not looked up: the directory cannot be reached ({type(error).__name__})")
    left = f"only {MOST} of {len(ids)} object ids were looked up" if len(ids) > MOST else ""
    return Looked(objects, left)


async def _both(graph: AsyncClient, root: str, ids: Sequence[str]) -> dict[str, DirectoryObject | None]:
    """People first. An id that is no person's may be that of an application."""
    people = await _all(graph, root, _USER, ids)
    others = await _all(graph, root, _APPLICATION, [each for each, found in people.items() if found is None])
    return people | others


async def _all(graph: AsyncClient, root: str, kind: str, ids: Sequence[str]) -> dict[str, DirectoryObject | None]:
    places = asyncio.Semaphore(AT_ONCE)

    async def some(chosen: Sequence[str]) -> dict[str, DirectoryObject | None]:
        async with places:
            return await _batch(graph, root, kind, chosen)

    found = await asyncio.gather(*(some(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)))
    return {each: value for part in found for each, value in part.items()}


async def _batch(graph: AsyncClient, root: str, kind: str, ids: Sequence[str]) -> dict[str, DirectoryObject | None]:
    requests = [
        {"id": str(number), "method": "GET", "url": f"/{kind}/{each}?$select={_SELECT[kind]}"}
        for number, each in enumerate(ids)
    ]
    response = await graph.post(f"{root}/$batch", json={"requests": requests})
    if response.status_code != 200:
        raise _NotFound(f"the directory answers {response.status_code}")
    try:
        answers = {str(each["id"]): each for each in response.json()["responses"]}
        return {each: _object(kind, answers[str(number)]) for number, each in enumerate(ids)}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _NotFound("the directory's answer is not that of Microsoft Graph") from None


def _object(kind: str, answer: Mapping[str, Any]) -> DirectoryObject | None:
    status = answer["status"]
    if status == 404:
        return None
    if status in (401, 403):
        raise _NotFound(f"the application may not read /{kind}. Grant it {_PERMISSION[kind]}")
    if status != 200:
        raise _NotFound(f"the directory answers {status:d}")
    body = answer["body"]
    name, enabled = str(body.get("displayName") or ""), body.get("accountEnabled") is not False
    if kind == _USER:
        return DirectoryObject("person", name, guest=body.get("userType") == "Guest", enabled=enabled)
    return DirectoryObject("application", name, enabled=enabled, client_id=str(body.get("appId") or "").lower())
