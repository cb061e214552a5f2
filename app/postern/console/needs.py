"""What needs a person, as the home page lists it. Pure. Within each kind, what is urgent comes first."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

from postern.api.grant_actions import Own, needed
from postern.catalog import Fault
from postern.connections.grants.reasons import YOU, said_to
from postern.connections.grants.states import Shown
from postern.connections.vault.expiry import EXPIRED, days_left, threshold
from postern.connections.vault.secret import SecretState
from postern.console.refusal_view import reason_words
from postern.console.words import count
from postern.ids import is_id
from postern.journal.grants import entry_of
from postern.journal.reading.attention import Burst, Failing
from postern.plain_text import plain

MOST_LISTED = 8
"""How many of a kind are listed. Of more, the page says how many there are."""
LONGEST = 300
"""Characters of a cause or reason."""
LEAST_BURST = 20
"""Rejected requests of an hour, of one reason for one workflow, that are worth a look."""

T = TypeVar("T")


class Need(NamedTuple):
    """One thing. `what` links to `path` (below `/console`), or to the page of a `connection`; `more` says why and what
    to do. `at` is a time, and `when` says of what. `other` is a second link with its words."""

    kind: str
    what: str
    path: str = ""
    more: str = ""
    when: str = ""
    at: float | None = None
    urgent: bool = True
    other: tuple[str, str] | None = None
    connection: str = ""


def of_files(faults: Sequence[Fault]) -> list[Need]:
    """Files that cannot be served as they are written."""
    return bounded("File", faults, _of_file, "faulty files", "/workflows")


def of_secrets(states: Mapping[str, SecretState], now: float) -> list[Need]:
    """Secrets that cannot be read, have ended, or end soon; the first to end comes first."""
    found = [(_order(state), need) for state in states.values() if (need := _of_secret(state, now)) is not None]
    found.sort(key=lambda each: each[0])
    return bounded("Secret", found, lambda each: each[1], "secrets", "/secrets")


def of_readiness(reasons: Mapping[str, str]) -> list[Need]:
    """Checks of `/readyz` that fail."""
    failing = [(name, reason) for name, reason in reasons.items() if reason]
    return [Need("Readiness", f"The readiness check {plain(name)} fails", more=sentences(why)) for name, why in failing]


def of_connections(own: Sequence[Own], used: Container[str], broken: Mapping[str, int]) -> list[Need]:
    """Connections that a person has to connect or connect again: the viewer's own, and for operators the shared ones.
    One that was never connected is listed only if it is `used`: by a workflow that the viewer may call, or shared.
    `broken` is how many people's grants are broken, by entry, for operators."""
    listed = [each for each in needed(own) if each.grant is not None or each.entry.name in used]
    found = bounded("Connection", listed, _of_connection, "connections", "/connections")
    return found + [_of_people(name, number) for name, number in broken.items() if number]


def of_runs(failing: Sequence[Failing]) -> list[Need]:
    """Workflows whose runs failed in the last 24 hours; those whose last run failed come first."""
    ordered = sorted(failing, key=lambda each: each.recovered)
    return bounded("Runs", ordered, _of_runs, "workflows with failed runs", "/workflows")


def of_findings(new: int) -> list[Need]:
    """Findings that no operator has acknowledged."""
    words = "1 new finding" if new == 1 else f"{count(new)} new findings"
    more = "Odd activity of callers. Acknowledge each, or revoke the access of its caller."
    return [Need("Findings", words, "/findings?state=new", more)] if new else []


def of_refusals(bursts: Sequence[Burst]) -> list[Need]:
    """Many rejected requests in the last hour."""
    return bounded("Refusals", bursts, _of_refusals, "groups of rejected requests", "/refusals")


def headline(needs: Sequence[Need]) -> str:
    """The heading of the page."""
    if not needs:
        return "Nothing needs you."
    return "1 thing needs you" if len(needs) == 1 else f"{len(needs)} things need you"


def bounded(kind: str, items: Sequence[T], need: Callable[[T], Need], of_more: str, path: str) -> list[Need]:
    """The first of them, and one entry for the others."""
    found = [need(each) for each in items[:MOST_LISTED]]
    if len(items) > MOST_LISTED:
        found.append(Need(kind, f"{count(len(items) - MOST_LISTED)} more {of_more}", path, urgent=False))
    return found


def _of_file(fault: Fault) -> Need:
    place = plain(fault.file.name) + (f", line {fault.line}" if fault.line is not None else "")
    still = fault.still_serving
    served = f"The last version that worked still serves {_names(still)}." if still else "It serves no workflow."
    return Need("File", f"{place} cannot be loaded", "/workflows", sentences(fault.cause, fault.fix, served))


def _of_secret(state: SecretState, now: float) -> Need | None:
    name, used = plain(state.name), f"Used by {_names(state.used_by)}." if state.used_by else ""
    if state.fault is not None:
        return Need("Secret", f"The secret {name} cannot be read", "/secrets", sentences(str(state.fault), used))
    crossed = threshold(state.ends, now) if state.ends is not None else None
    if state.ends is None or crossed is None:
        return None
    days = days_left(state.ends, now)
    if crossed == EXPIRED:
        return Need("Secret", f"The secret {name} has expired", "/secrets", used, "Expired", state.ends)
    when = "within a day" if days < 1 else f"in {days} {'day' if days == 1 else 'days'}"
    return Need("Secret", f"The secret {name} expires {when}", "/secrets", used, "Expires", state.ends, urgent=days < 7)


def _of_connection(own: Own) -> Need:
    found, whose = own.condition, "Your connection" if own.entry.per_user else "The shared connection"
    name = plain(own.entry.name)
    words = {
        Shown.NEEDED: f"{name} is not connected",
        Shown.EXPIRING: f"{whose} {name} ends soon",
        Shown.BROKEN: f"{whose} {name} is broken",
    }[found.state]
    ends = {"when": "Ends", "at": found.ends_at} if found.state is Shown.EXPIRING else {"when": "", "at": None}
    why = f"It {found.text}" if found.state is not Shown.NEEDED and found.text else ""
    urgent = found.state is Shown.BROKEN or (found.state is Shown.NEEDED and not own.entry.per_user)
    more = sentences(why, said_to(YOU, found.fix) or "Connect it again before that")
    return Need("Connection", words, more=more, urgent=urgent, connection=own.entry.name, **ends)


def _of_people(name: str, number: int) -> Need:
    people = "1 person has" if number == 1 else f"{count(number)} people have"
    more = "Only they can connect it again. Each sees it on the home page."
    path = f"/connections/{entry_of(name)}/people"
    return Need("Connection", f"{people} a broken grant of {plain(name)}", path, more, urgent=False)


def _order(state: SecretState) -> float:
    return 0.0 if state.fault is not None or state.ends is None else state.ends


def _of_runs(failing: Failing) -> Need:
    workflow = plain(failing.workflow)
    number = f"{count(failing.count)}{' or more' if failing.more else ''}"
    runs = "run" if failing.count == 1 and not failing.more else "runs"
    last = f"Last error: {plain(failing.error)}." if failing.error else ""
    later = "A later run succeeded." if failing.recovered else ""
    return Need(
        "Runs",
        f"{workflow}: {number} {runs} failed in 24 hours",
        f"/runs/{failing.run_id}",
        sentences(last, later),
        "Last failure",
        failing.at,
        not failing.recovered,
        ("All runs", "/runs?" + urlencode({"workflow": failing.workflow, "since": "24h"})),
    )


def _of_refusals(burst: Burst) -> Need:
    requests = f"{count(burst.count)} requests {f'for {plain(burst.workflow)} ' if burst.workflow else ''}"
    where = (
        "very many addresses"
        if burst.addresses is None
        else ("1 address" if burst.addresses == 1 else f"{burst.addresses} addresses")
    )
    filters = {"reason": burst.reason, "workflow": burst.workflow, "since": "1h"}
    return Need(
        "Refusals",
        f"{requests}were rejected in the last hour. {plain(reason_words(burst.reason))}.",
        f"/refusals/{burst.refusal_id}" if is_id(burst.refusal_id) else "/refusals",
        f"From {where}.",
        "Last request",
        burst.at,
        False,
        ("All refusals", "/refusals?" + urlencode({name: text for name, text in filters.items() if text})),
    )


def _names(names: Iterable[str]) -> str:
    listed = [plain(name) for name in names]
    more = f" and {count(len(listed) - MOST_LISTED)} more" if len(listed) > MOST_LISTED else ""
    return ", ".join(listed[:MOST_LISTED]) + more


def sentences(*parts: str) -> str:
    """Sentences, each with its full stop, none of them very long."""
    shown = (plain(part.strip()) for part in parts if part.strip())
    cut = (part if len(part) <= LONGEST else f"{part[:LONGEST]}\N{HORIZONTAL ELLIPSIS}" for part in shown)
    return " ".join(part if part.endswith((".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")) else f"{part}." for part in cut)
