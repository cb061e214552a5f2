"""Refusals of a person's refresh tokens, switched on to see what happens then: `refusals.json` in the state folder.

The file is `{"lisa": 50173}`: a name and an AADSTS code. It is for tokens that were issued before the file was written,
so that signing in again helps, as at Entra. It may be written by hand while the tenant is served.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postern.local_tenant.errors import EntraError, error_of
from postern.local_tenant.state import TenantFault, write_file

REFUSALS_FILE = "refusals.json"

REVOKED = 50173
EXPIRED = 700082
STEP_UP = 50076
OF_ACCESS_TOKENS = (REVOKED, STEP_UP)
"""Refusals that Graph learns of at once (continuous access evaluation)."""

_DESCRIPTIONS: Mapping[int, str] = {
    REVOKED: "The grant was revoked: sign in again.",
    EXPIRED: "The refresh token has expired due to inactivity.",
    STEP_UP: "You must use multi-factor authentication to access the resource.",
}
_CLAIMS = '{"access_token":{"capolids":{"essential":true,"values":["3f0c2f2e-6d0e-4f55-9d36-5b8a2f0e7c11"]}}}'


@dataclass(frozen=True, slots=True)
class Refusals:
    """Those of one state folder."""

    folder: Path

    def switch_on(self, person: str, code: int, now: float) -> None:
        """Refuse the person's refresh tokens that were issued up to now, in seconds since 1970."""
        self._write(self._read() | {person: code}, now)

    def switch_off(self) -> None:
        """End all refusals."""
        (self.folder / REFUSALS_FILE).unlink(missing_ok=True)

    def of(self, person: str, issued_at: float) -> int:
        """The AADSTS code for a token of that moment; 0 if it is not refused."""
        try:
            written = (self.folder / REFUSALS_FILE).stat().st_mtime
        except FileNotFoundError:
            return 0
        return self._read().get(person, 0) if issued_at <= written else 0

    def check(self, person: str, issued_at: float) -> None:
        """Raise EntraError if a refresh token of that moment is refused."""
        if code := self.of(person, issued_at):
            claims = _CLAIMS if code == STEP_UP else ""
            said = _DESCRIPTIONS.get(code, "This refusal was switched on.")
            raise EntraError(400, error_of(code), code, said, claims=claims)

    def _read(self) -> dict[str, int]:
        path = self.folder / REFUSALS_FILE
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or not all(type(code) is int for code in found.values()):
            raise TenantFault(f'{path} cannot be read: write names with AADSTS codes, as {{"lisa": 50173}}')
        return found

    def _write(self, content: Mapping[str, int], now: float) -> None:
        path = self.folder / REFUSALS_FILE
        write_file(path, json.dumps(content).encode() + b"\n")
        os.utime(path, (now, now))
