"""Revocation: read from the database while the server runs, and applied to whatever remembers callers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from postern.api.health import Check
from postern.api.metrics import revocation_metrics
from postern.assembly.foundation import Foundation
from postern.assembly.once import Once
from postern.assembly.part import Part
from postern.errors import Problem
from postern.security.revocation.revocations import PATIENCE, Revocations

if TYPE_CHECKING:
    from postern.security.revocation.revoking import Revoking


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPart(Part):
    """`revoking` returns what makes and takes back revocations, and `revocations` has those of now."""

    revoking: Callable[[], "Revoking"]
    revocations: Revocations


def revocation_part(base: Foundation) -> RevocationPart:
    """The tokens that the identity remembers, and those that runs in progress hold, are forgotten when the access of
    their callers ends."""
    settings, revocations, journal = base.settings, base.revocations, base.journal
    revocations.on_revoked(base.identity.identity.forget)
    if base.connections.callers is not None:
        revocations.on_revoked(base.connections.callers.revoked)

    def revoking() -> "Revoking":
        from postern.security.revocation.revoking import Revoking  # for pages only

        return Revoking(
            revocations,
            journal.read,
            journal.write,
            base.note,
            settings.tenant_id or "",
            settings.client_id or "",
            frozenset(settings.operators),
            lambda: settings.people,
        )

    return RevocationPart(
        revoking=Once(revoking),
        revocations=revocations,
        tasks=(partial(revocations.run, journal.read),),
        checks={"revocations": _known(revocations)},
        metrics=(revocation_metrics(lambda: revocations.active, lambda: revocations.age),),
    )


def _known(revocations: Revocations) -> Check:
    async def check() -> str:
        try:
            await revocations.wait()  # a server that has just started reads them in a moment
        except Problem:
            age = revocations.age
            since = "not read yet" if age is None else f"not read for {age:.0f} s, and {PATIENCE:.0f} s are allowed"
            return f"{since}: authenticated requests get 503"
        return ""

    return check
