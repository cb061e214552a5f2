"""What the console gets of the other parts, and the part of a server without it. It loads no page."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from postern.api.docs import TokenCommand
from postern.api.health import Readiness
from postern.assembly.api import ApiPart
from postern.assembly.foundation import Foundation
from postern.assembly.gateway_pages import GatewayPagesPart
from postern.assembly.grants import GrantsPart
from postern.assembly.part import Part
from postern.assembly.refusals import RefusalsPart
from postern.assembly.review import ReviewPart
from postern.assembly.revocation import RevocationPart
from postern.assembly.runs import RunsPart
from postern.assembly.signed_urls import SignedUrlsPart
from postern.console.services import LocalCaller


@dataclass(frozen=True, slots=True)
class Beside:
    """The parts of the server that the console shows and uses."""

    runs: RunsPart
    refusals: RefusalsPart
    api: ApiPart
    grants: GrantsPart
    revocation: RevocationPart
    signed_urls: SignedUrlsPart
    review: ReviewPart
    gateways: GatewayPagesPart
    readiness: Readiness


@dataclass(frozen=True, slots=True)
class Local:
    """What the console needs where the tenant is the local one: where browsers on this machine reach the server ("" if
    the tenant is a real one), the commands that print tokens, and whom a token of a person there would name."""

    address: str = ""
    tokens: TokenCommand | None = None
    caller: LocalCaller = lambda _name, _policy: None


def console_off(base: Foundation, missing: Iterable[str]) -> Part:
    """The part of a server without pages. The log says what is missing for them."""

    @asynccontextmanager
    async def off() -> AsyncIterator[None]:
        base.log.info("console-off", missing="; ".join(missing))
        yield

    return Part(life=off)
