"""The kinds of findings in words: what was seen, and what may be behind it. FINDINGS.md has the same table."""

from collections.abc import Mapping
from typing import NamedTuple

from postern.journal.finding import FindingKind


class KindText(NamedTuple):
    """`title` is what was seen, `about` who it is about, `when` the rule in a sentence."""

    title: str
    about: str
    when: str


KINDS: Mapping[FindingKind, KindText] = {
    FindingKind.TOKEN_FROM_TWO_NETWORKS: KindText(
        "One token from two networks",
        "caller",
        "A token (`uti`) that was used in one network is used in another one that its caller never used. If the caller "
        "roams, it is found once the first network is used again within 2 minutes, or was used meanwhile.",
    ),
    FindingKind.NEW_NETWORK: KindText(
        "A new network",
        "caller",
        "A caller with 20 admitted requests comes from a network that it never used.",
    ),
    FindingKind.FIRST_USE: KindText(
        "First use of a workflow",
        "application",
        "An application uses a workflow for the first time. The workflow has been served for 7 days, and uses have "
        "been noted for as long.",
    ),
    FindingKind.CREDENTIAL_WEAKENED: KindText(
        "A secret in place of a certificate",
        "application",
        "An application that had signed in with a certificate (`azpacr` 2) signs in with a secret (1) for the first "
        "time.",
    ),
    FindingKind.SUCCESS_AFTER_REFUSALS: KindText(
        "A success after refusals",
        "caller",
        "A request is admitted within 10 minutes after 5 rejected ones (401) of the same caller, or from the same "
        "address if fewer than 3 callers use its network, with none admitted in between.",
    ),
    FindingKind.MANY_WORKFLOWS: KindText(
        "Many workflows in a minute",
        "caller or address",
        "A caller or an address tries 8 workflows within a minute that it was not admitted to before.",
    ),
    FindingKind.DORMANT_CALLER: KindText(
        "A dormant caller",
        "caller",
        "A caller that was not seen for 60 days is admitted.",
    ),
    FindingKind.EXPIRED_TOKEN_USED: KindText(
        "An expired token in use",
        "caller",
        "An expired token is used 5 times, with at most 30 minutes in between, or once from a network that its caller "
        "never used.",
    ),
    FindingKind.REVOKED_TOKEN_USED: KindText(
        "A revoked token in use",
        "caller",
        "A token is used after its caller, its client or itself was revoked.",
    ),
    FindingKind.REFUSALS_OF_CALLER: KindText(
        "Many refusals of a caller",
        "caller",
        "30 requests of a caller are rejected (401) within a minute.",
    ),
    FindingKind.REFUSALS_OF_CLIENT: KindText(
        "Many refusals of an application",
        "application",
        "60 requests of an application's callers are rejected (401) within a minute.",
    ),
    FindingKind.REFUSALS_FROM_ADDRESS: KindText(
        "Many refusals from an address",
        "address",
        "100 requests from an address, or an IPv6 network of 64 bits, are rejected within a minute (401, or 404 for an "
        "unknown trigger).",
    ),
}
"""All kinds."""


def title_of(kind: str) -> str:
    """What was seen, in words. A kind of a later release is its own name."""
    return KINDS[FindingKind(kind)].title if kind in tuple(FindingKind) else kind
