"""`/console/signed-urls`: the signed URLs of all workflows, for operators: who made each, its last use, and a button
that revokes it. A new one is shown once, on the page that made it."""

import json
import re
from dataclasses import dataclass
from typing import Any

from postern.api.signed_url_actions import DAY, Made, state_of, wish_of
from postern.console.form import form_of
from postern.console.page import PageRoute, SeeOther, Shown, Visit
from postern.console.run_words import who
from postern.console.services import Services
from postern.errors import Problem, problem
from postern.journal.signed_urls import MOST_LISTED, SignedUrl
from postern.plain_text import plain

HERE = "signed-urls"
MOST_FORM_BYTES = 16 * 1024
SHOWN_AGAIN = frozenset({"invalid-body", "link-exists", "workflow-not-signed", "signing-key-unavailable"})
"""Problems that are said in the form, which keeps what was typed."""
_DAYS = re.compile(r"[1-9][0-9]{0,3}")
_AFTER = re.compile(r"([a-z0-9-]{1,100})/([A-Za-z0-9._-]{1,64})")
FIELDS = ("workflow", "id", "key", "days", "no_expiry", "path", "with")


@dataclass(frozen=True, slots=True)
class UrlRow:
    """A signed URL as the page shows it."""

    workflow: str
    id: str
    state: str
    key: str
    path: str
    fixed: str
    made_by: str
    expires_at: float | None
    uses: int
    used_at: float | None


def url_row(row: SignedUrl, now: float) -> UrlRow:
    """A row of the table."""
    return UrlRow(
        plain(row.workflow),
        plain(row.id),
        state_of(row, now),
        plain(row.key),
        "any path" if row.path is None else plain(row.path),
        plain(", ".join(row.fixed)),
        who(json.loads(row.made_by)),
        row.expires_at,
        row.uses,
        row.used_at,
    )


@dataclass(frozen=True, slots=True)
class SignedUrls:
    """The page and its forms."""

    services: Services

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """Where they are."""
        return (
            PageRoute("GET", "/console/signed-urls", self.page, operators_only=True),
            PageRoute("POST", "/console/signed-urls", self.make, operators_only=True),
            PageRoute("GET", "/console/signed-urls/revoke", self.back, operators_only=True),
            PageRoute("POST", "/console/signed-urls/revoke", self.revoke, operators_only=True),
        )

    async def page(self, visit: Visit) -> Shown:
        """The list, in pages."""
        return await self._shown(visit)

    async def make(self, visit: Visit) -> Shown:
        """Make a URL, which this page shows, and no other."""
        fields = await form_of(visit, MOST_FORM_BYTES)
        typed = {name: plain(fields.get(name, ""), lines=True) for name in FIELDS}
        try:
            wish = wish_of(_wish(fields))
            made = await self.services.signed_urls.make(fields.get("workflow", ""), wish, visit.viewer.caller)
        except Problem as wrong:
            if wrong.code not in SHOWN_AGAIN:
                raise
            errors = wrong.members.get("errors") or [{"where": "", "message": wrong.detail}]
            return await self._shown(visit, typed=typed, errors=errors, status=wrong.status)
        return await self._shown(visit, made=made)

    async def revoke(self, visit: Visit) -> Shown:
        """Revoke a URL."""
        fields = await form_of(visit, MOST_FORM_BYTES)
        found = _AFTER.fullmatch(f"{fields.get('workflow', '')}/{fields.get('id', '')}")
        if found is None:
            raise problem("not-found")
        row = await self.services.signed_urls.revoke(found[1], found[2], visit.viewer.caller)
        return await self._shown(visit, revoked=f"{row.workflow}/{row.id}")

    async def back(self, _: Visit) -> SeeOther:
        """The address of a form that was sent, opened again."""
        return SeeOther("/console/signed-urls")

    async def _shown(
        self,
        visit: Visit,
        *,
        made: Made | None = None,
        typed: dict[str, str] | None = None,
        errors: list[dict[str, Any]] | None = None,
        revoked: str = "",
        status: int = 200,
    ) -> Shown:
        actions, now = self.services.signed_urls, self.services.now()
        after = _AFTER.fullmatch(visit.request.query_params.get("after", ""))
        rows = await actions.listed("", visit.holder, (after[1], after[2]) if after is not None else None)
        values = {
            "rows": [url_row(row, now) for row in rows],
            "more": f"{rows[-1].workflow}/{rows[-1].id}" if len(rows) == MOST_LISTED else "",
            "workflows": actions.workflows,
            "made": None if made is None else {"url": made.url, "row": url_row(made.row, now)},
            "typed": typed or dict.fromkeys(FIELDS, "") | {"days": "30", "key": "primary"},
            "errors": [
                {"where": plain(str(each["where"])), "message": plain(str(each["message"]))} for each in errors or ()
            ],
            "revoked": plain(revoked),
        }
        return Shown("signed_urls.html", values, HERE, status)


def _wish(fields: dict[str, str]) -> dict[str, Any]:
    """What the form says, in the members of the API. Raises Problem for days that are no number."""
    wish: dict[str, Any] = {"key": fields.get("key") or "primary"}
    days = fields.get("days", "").strip()
    if fields.get("no_expiry"):
        wish["no_expiry"] = True
    elif days:
        if not _DAYS.fullmatch(days):
            errors = [{"where": "days", "message": "must be a number of days, from 1 to 3650"}]
            raise problem("invalid-body", errors=errors)
        wish["expires_in"] = int(days) * DAY
    for name in ("id", "path"):
        if text := fields.get(name, "").strip():
            wish[name] = text
    lines = [line.strip() for line in fields.get("with", "").splitlines() if line.strip()]
    if lines:
        wish["with"] = {name: value for name, _, value in (line.partition("=") for line in lines)}
        if len(wish["with"]) < len(lines) or not all("=" in line for line in lines):
            errors = [{"where": "with", "message": "must have one name=value on each line, each name once"}]
            raise problem("invalid-body", errors=errors)
    return wish
