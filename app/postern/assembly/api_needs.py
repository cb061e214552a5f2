"""What the run API gets of the other parts of the server. It loads no page."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postern.assembly.durable import DurablePart
from postern.assembly.grants import GrantsPart
from postern.assembly.refusals import RefusalsPart
from postern.assembly.revocation import RevocationPart
from postern.assembly.runs import RunsPart
from postern.assembly.signed_urls import SignedUrlsPart
from postern.triggers.large_bodies import LargeBodies

if TYPE_CHECKING:
    from postern.security.review.review import Review

MakeReview = Callable[[], Awaitable["Review"]]
"""Makes the access review as of now."""


@dataclass(frozen=True, slots=True)
class ApiNeeds:
    """The parts of the server that the run API shows and uses. `review` returns what makes the access review."""

    runs: RunsPart
    durable: DurablePart
    refusals: RefusalsPart
    grants: GrantsPart
    revocation: RevocationPart
    signed_urls: SignedUrlsPart
    review: Callable[[], MakeReview]
    large_bodies: LargeBodies
