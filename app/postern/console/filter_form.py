"""The filters of a list for operators, as the form of its page sends them. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from postern.api.list_query import MOST_PARAMETERS, PageQuery
from postern.errors import Problem, problem
from postern.plain_text import plain

SINCE: Mapping[str, tuple[float, str]] = {
    "1h": (3600, "1 hour"),
    "24h": (86400, "24 hours"),
    "7d": (7 * 86400, "7 days"),
}
"""What the form offers for `since`, beside a time of RFC 3339."""


@dataclass(frozen=True, slots=True)
class FilterForm:
    """The filters of one list: `labels` has them in words, in the order of the form. `page_of` makes of a query what
    the API makes of it."""

    labels: Mapping[str, str]
    page_of: Callable[[bytes], PageQuery]

    def asked(self, query: bytes, now: float) -> "Asked":
        """The requested page. Empty fields of the form are no filters. Raises Problem `bad-filter`, whose detail names
        what is wrong, never its value."""
        try:
            pairs = parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=MOST_PARAMETERS)
        except ValueError:
            raise problem("bad-filter", detail="The address of this page is not valid: open the list again.") from None
        given = {name: value.strip() for name, value in pairs if value.strip()}
        absolute = dict(given)
        if given.get("since") in SINCE:
            since = datetime.fromtimestamp(now - SINCE[given["since"]][0], UTC)
            absolute["since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        if given.keys() - self.labels.keys() - {"cursor"}:
            detail = "The address names a filter that this list does not have: open it again."
            raise problem("bad-filter", detail=detail)
        try:
            return Asked(self, given, self.page_of(urlencode(absolute).encode()), absolute)
        except Problem as wrong:
            found = wrong.members.get("errors", [])
            detail = "; ".join(f"{each['where']} {each['message']}" for each in found)
            raise problem("bad-filter", detail=f"{detail}.") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested page: the filters as they were sent, without empty ones, and what the API makes of them. A `since` of
    the form became a time, so that cursors stay valid."""

    form: FilterForm
    given: Mapping[str, str]
    page: PageQuery
    absolute: Mapping[str, str]

    def without(self, name: str) -> "Asked":
        """The same list without one filter, from its beginning."""
        left = {key: value for key, value in self.absolute.items() if key not in (name, "cursor")}
        page = self.form.page_of(urlencode(left).encode())
        return Asked(self.form, {key: self.given[key] for key in left}, page, left)

    def link(self, *, drop: str = "", cursor: str | None = None) -> str:
        """The query of a list: without a filter, or of the page after this one. It begins with `?`, or is empty."""
        if cursor is not None:
            return "?" + urlencode({**self.absolute, "cursor": cursor})
        left = {key: value for key, value in self.given.items() if key not in (drop, "cursor")}
        return f"?{urlencode(left)}" if left else ""

    def chips(self) -> list[tuple[str, str, str]]:
        """For each filter its name, its words, and the query of the list without it."""
        return [
            (name, f"{label} {_words(name, self.given[name])}", self.link(drop=name))
            for name, label in self.form.labels.items()
            if name in self.given
        ]


def _words(name: str, value: str) -> str:
    return SINCE[value][1] if name == "since" and value in SINCE else plain(value)
