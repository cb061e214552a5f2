"""What the pages of the console need from the rest of the server. `assembly/console.py` hands it over."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from structlog.typing import FilteringBoundLogger

from postern.access import Guarded
from postern.api.approval_actions import ApprovalActions
from postern.api.durable_actions import DurableActions
from postern.api.finding_actions import FindingActions
from postern.api.grant_actions import GrantActions
from postern.api.local_people import LocalCaller, TokenCommand
from postern.api.run_actions import Cancel, Read, Resubmit, Underway, Write
from postern.api.run_audit import RunAudit
from postern.api.signal_actions import SignalActions
from postern.api.signed_url_actions import SignedUrlActions
from postern.catalog import Snapshot
from postern.catalog.snapshot import EMPTY
from postern.connections.grants.provider import Provider
from postern.connections.stage import Stage
from postern.connections.vault.secret import SecretState
from postern.errors import problem
from postern.identity.explained import Explained
from postern.security.audit.log import Note, not_noted
from postern.security.review.review import Review
from postern.security.revocation.revoking import Revoking
from postern.settings import Settings
from postern.settings.installation import Installation

Stages = Callable[[str], AsyncIterator[Stage]]
"""Tests the entry of this name, stage by stage."""


async def _without_keys(_: str, __: Guarded) -> Explained:
    raise problem("identity-unavailable")


async def _nothing_to_read() -> None:
    """There is no Key Vault."""


async def _no_checks() -> Mapping[str, str]:
    return {}


async def _no_journal(*_: object) -> Any:
    raise problem("journal-unavailable")


def _no_provider(name: str) -> Provider:
    raise LookupError(name)


NO_GRANTS = GrantActions({}, None, _no_journal, _no_journal, "")
"""Where no entry is connected by a person. Nothing is read."""


NO_SIGNED_URLS = SignedUrlActions(_no_journal, _no_journal, lambda: EMPTY, _no_journal, "")
"""Where no workflow takes signed URLs."""


@dataclass(frozen=True, slots=True)
class Services:
    """`read` and `write` are the journal's. `cancel`, `resubmit` and `underway` are the run API's. `snapshot` returns
    the current catalog. `now` is the time in Unix seconds. `local` says that the tenant is the local one.

    `explain` makes every check of a token for a policy. `local_caller` is for the local tenant, and `token_command` the
    command that prints a token there with which a trigger may be called. `address` is where browsers reach the server.
    `secret_states` is what is known of the secrets of the settings, by name, and `read_secrets` reads them now.
    `readiness` says why each check of `/readyz` fails, "" if it passes. `grants` are the actions on connections that
    people connect, and `provider` returns that of a grant's name. `stages` tests an entry. `review` makes the access
    review as of now. `note` notes events of the audit log, and `run_audit` those about runs. `findings` are the
    actions on findings, `signed_urls` those on signed URLs, `revoking` ends access, and
    `approvals` and `signals` are the actions on these."""

    settings: Settings
    installation: Installation
    read: Read
    write: Write
    cancel: Cancel
    resubmit: Resubmit
    underway: Underway
    snapshot: Callable[[], Snapshot]
    log: FilteringBoundLogger
    now: Callable[[], float] = time.time
    local: bool = False
    explain: Callable[[str, Guarded], Awaitable[Explained]] = _without_keys
    local_caller: LocalCaller = lambda _name, _policy: None
    token_command: TokenCommand | None = None
    address: str = ""
    secret_states: Callable[[], Mapping[str, SecretState]] = dict
    read_secrets: Callable[[], Awaitable[object]] = _nothing_to_read
    readiness: Callable[[], Awaitable[Mapping[str, str]]] = _no_checks
    grants: GrantActions = NO_GRANTS
    provider: Callable[[str], Provider] = _no_provider
    stages: Stages | None = None
    note: Note = not_noted
    review: Callable[[], Awaitable[Review]] = _no_journal
    run_audit: RunAudit = field(default_factory=RunAudit)
    findings: FindingActions | None = None
    durable: DurableActions | None = None
    revoking: Revoking | None = None
    signed_urls: SignedUrlActions = NO_SIGNED_URLS
    approvals: ApprovalActions | None = None
    signals: SignalActions | None = None
