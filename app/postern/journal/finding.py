"""A finding: odd activity of one caller, application or address, of one kind and on one day. Pure.

The names of kinds, states and the members of the evidence are a contract: alert workflows read them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MOST_NOTED = 20
"""Request ids, addresses, networks, workflows and reasons that the evidence has of each."""

OF_ADDRESS = "address/"
"""What the subject of an address begins with. Anyone can cause findings about addresses, without a token."""


class FindingKind(StrEnum):
    """What was odd."""

    TOKEN_FROM_TWO_NETWORKS = "token-from-two-networks"  # noqa: S105 no password
    NEW_NETWORK = "new-network"
    FIRST_USE = "first-use"
    CREDENTIAL_WEAKENED = "credential-weakened"
    SUCCESS_AFTER_REFUSALS = "success-after-refusals"
    MANY_WORKFLOWS = "many-workflows"
    DORMANT_CALLER = "dormant-caller"
    EXPIRED_TOKEN_USED = "expired-token-used"  # noqa: S105 no password
    REVOKED_TOKEN_USED = "revoked-token-used"  # noqa: S105 no password
    REFUSALS_OF_CALLER = "refusals-of-caller"
    REFUSALS_OF_CLIENT = "refusals-of-client"
    REFUSALS_FROM_ADDRESS = "refusals-from-address"


class FindingState(StrEnum):
    """What operators made of it."""

    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen. `runs` are ids of runs that were admitted, `refused` request ids of refusals."""

    runs: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def joined(self, later: "Evidence") -> "Evidence":
        """Both together: the first of each are kept."""
        return Evidence(*(_union(getattr(self, name), getattr(later, name)) for name in self.__slots__))

    def as_json(self) -> dict[str, list[str]]:
        """Its members as JSON."""
        return {name: list(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Who:
    """Whom a finding is about, as far as a verified token or the address says."""

    kind: str = ""
    object_id: str = ""
    tenant_id: str = ""
    client_id: str = ""
    name: str = ""
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a rule saw: it becomes a finding, or is added to that of its subject, kind and day. `id` is the finding's if
    there is none yet. Times are Unix seconds."""

    id: str
    kind: FindingKind
    subject: str
    first_at: float
    last_at: float
    count: int
    who: Who = field(default_factory=Who)
    client_address: str = ""
    workflow: str = ""
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def day(self) -> str:
        """The day (UTC) of its first moment."""
        return datetime.fromtimestamp(self.first_at, UTC).strftime("%Y-%m-%d")

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one finding of."""
        return self.subject, self.kind.value, self.day

    def joined(self, later: "Sighting") -> "Sighting":
        """Both together, as the first of the two."""
        return replace(
            self,
            first_at=min(self.first_at, later.first_at),
            last_at=max(self.last_at, later.last_at),
            count=self.count + later.count,
            evidence=self.evidence.joined(later.evidence),
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding as it is recorded. `state_by` has the members of a record's `caller`, None while it is new."""

    id: str
    kind: str
    subject: str
    day: str
    who: Who
    client_address: str
    workflow: str
    first_at: float
    last_at: float
    count: int
    evidence: Evidence
    state: str
    state_by: Mapping[str, Any] | None = None
    state_at: float | None = None
    alerted_at: float | None = None


def evidence_of(noted: Mapping[str, Any]) -> Evidence:
    """The evidence in its JSON. Members of another form, as a later release may write them, are left out."""
    lists = {name: noted.get(name) for name in Evidence.__slots__}
    return Evidence(**{name: tuple(map(str, found)) for name, found in lists.items() if isinstance(found, list)})


def _union(first: Iterable[str], later: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *later)))[:MOST_NOTED]
