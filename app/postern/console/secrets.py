"""`/console/secrets`: the secrets that the settings name, by date of end, with their users. Never a value."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from postern.connections.vault.expiry import THRESHOLDS, days_left
from postern.connections.vault.secret import SecretState
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.services import Services
from postern.console.uses_words import users_of_secrets
from postern.plain_text import plain
from postern.settings.references import secret_references

HERE = "secrets"
NO_WORKFLOWS: Mapping[str, list[str]] = MappingProxyType({})
SECONDS = 60.0
"""How long reading all secrets may take."""


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret. `state` is one of `unreadable`, `expired`, `soon`, `readable` and `unknown`, and `words` says it.
    `ends` and `looked_at` are Unix seconds, `wrong` and `fix` say why it cannot be read."""

    name: str
    used_by: tuple[str, ...]
    state: str
    words: str
    ends: float | None = None
    wrong: str = ""
    fix: str = ""
    looked_at: float | None = None


def secret_rows(
    named: Mapping[str, tuple[str, ...]],
    states: Mapping[str, SecretState],
    now: float,
    workflows: Mapping[str, list[str]] = NO_WORKFLOWS,
) -> list[SecretRow]:
    """All secrets that settings name, and others that workflows use: what needs a person first, then by date of end.
    `workflows` are those that use a secret, by its name in lower case."""
    users: dict[str, tuple[str, list[str]]] = {}
    for name, of_settings in named.items():
        users[name.lower()] = name, list(of_settings)
    for name in states:
        users.setdefault(name.lower(), (name, []))
    for key, of_workflows in workflows.items():
        shown, known = users.setdefault(key, (key, []))
        users[key] = shown, [*known, *(f"workflow {name}" for name in of_workflows)]
    by_key = {name.lower(): state for name, state in states.items()}
    rows = [
        _row(name, tuple(used_by) or ("ctx.secret",), by_key.get(key), now) for key, (name, used_by) in users.items()
    ]
    return sorted(rows, key=_order)


def _row(name: str, used_by: tuple[str, ...], state: SecretState | None, now: float) -> SecretRow:
    if state is None:
        return SecretRow(name, used_by, "unknown", "not read yet")
    if state.fault is not None:
        wrong, fix = plain(f"{state.fault.entry} {state.fault.wrong}"), plain(state.fault.fix)
        return SecretRow(name, used_by, "unreadable", "cannot be read", None, wrong, fix, state.at)
    kind, words = _end(state.ends, now)
    return SecretRow(name, used_by, kind, words, state.ends, looked_at=state.at)


def _end(ends: float | None, now: float) -> tuple[str, str]:
    if ends is None:
        return "readable", "no expiry date"
    if ends <= now:
        return "expired", "has expired"
    days = days_left(ends, now)
    words = "expires within a day" if days == 0 else "expires in 1 day" if days == 1 else f"expires in {days} days"
    return ("soon" if days < max(THRESHOLDS) else "readable"), words


_FIRST = {"unreadable": 0, "expired": 1, "soon": 1, "readable": 1, "unknown": 2}


def _order(row: SecretRow) -> tuple[int, float, str]:
    return _FIRST[row.state], row.ends if row.ends is not None else float("inf"), row.name


@dataclass(frozen=True, slots=True)
class Secrets:
    """The page."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where it is."""
        return (
            PageRoute("GET", "/console/secrets", self.index, operators_only=True),
            PageRoute("POST", "/console/secrets/read", self.read, operators_only=True),
            PageRoute("GET", "/console/secrets/read", self.back, operators_only=True),
        )

    async def index(self, _: Visit) -> Shown:
        """What this server process knows of each secret. It reads none."""
        return self._shown("")

    async def read(self, _: Visit) -> Shown:
        """Read all secrets now, in this server process."""
        try:
            async with asyncio.timeout(SECONDS):
                await self.services.read_secrets()
        except TimeoutError:
            return self._shown(f"Not all were read within {SECONDS:g} s.")
        return self._shown("Read just now.")

    async def back(self, _: Visit) -> SeeOther:
        """The address that is opened again, which reads nothing: to the list."""
        return SeeOther("/console/secrets")

    def _shown(self, note: str) -> Shown:
        settings = self.services.settings
        users = users_of_secrets(self.services.snapshot().triggers)
        rows = secret_rows(secret_references(settings), self.services.secret_states(), self.services.now(), users)
        values = {"rows": rows, "note": note, "vault": settings.key_vault_url or "", "needing": _needing(rows)}
        return Shown("secrets.html", values, HERE)


def _needing(rows: Iterable[SecretRow]) -> int:
    """How many need a person."""
    return sum(row.state in ("unreadable", "expired", "soon") for row in rows)
