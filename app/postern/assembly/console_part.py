"""The console as a part of the server, or what says in the log why there is none. It loads no page."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.routing import Route

from postern.assembly.console_needs import Beside, Local, address_of
from postern.assembly.foundation import Foundation
from postern.assembly.part import Part
from postern.http_client import http_client


def console_off(base: Foundation, missing: Iterable[str]) -> Part:
    """The part of a server without pages. The log says what is missing for them."""

    @asynccontextmanager
    async def off() -> AsyncIterator[None]:
        base.log.info("console-off", missing="; ".join(missing))
        yield

    return Part(life=off)


def console_on(base: Foundation, beside: Beside, local: Local) -> Part:
    """`/console`."""
    client = http_client(base.settings.ca_bundle, proxy=base.settings.way_out)

    def pages() -> Iterable[Route]:
        from postern.assembly.console import console_pages  # 0.1 s and 8 MiB, of which triggers need nothing

        return console_pages(base, beside, local, client)

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        address = f"{address_of(base.settings, local)}/console"
        base.log.info("console-on", address=address, open_to=base.settings.console)
        try:
            yield
        finally:
            await client.aclose()

    return Part(later_routes=pages, life=life)
