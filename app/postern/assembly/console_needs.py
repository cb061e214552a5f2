"""What the console gets of the other parts of the server. It loads no page."""

from collections.abc import Callable
from dataclasses import dataclass

from postern.api.health import Readiness
from postern.api.local_people import LocalCaller, TokenCommand
from postern.assembly.api import ApiPart
from postern.assembly.api_needs import MakeReview
from postern.assembly.grants import GrantsPart
from postern.assembly.refusals import RefusalsPart
from postern.assembly.revocation import RevocationPart
from postern.assembly.runs import RunsPart
from postern.assembly.signed_urls import SignedUrlsPart
from postern.settings import Settings


@dataclass(frozen=True, slots=True)
class Beside:
    """The parts of the server that the console shows and uses."""

    runs: RunsPart
    refusals: RefusalsPart
    api: ApiPart
    grants: GrantsPart
    revocation: RevocationPart
    signed_urls: SignedUrlsPart
    review: Callable[[], MakeReview]
    readiness: Readiness


@dataclass(frozen=True, slots=True)
class Local:
    """What the console needs where the tenant is the local one: where browsers on this machine reach the server ("" if
    the tenant is a real one), the commands that print tokens, and whom a token of a person there would name."""

    address: str = ""
    tokens: TokenCommand | None = None
    caller: LocalCaller = lambda _name, _policy: None


def address_of(settings: Settings, local: Local) -> str:
    """Where browsers reach the server."""
    return local.address or settings.public_url or ""
