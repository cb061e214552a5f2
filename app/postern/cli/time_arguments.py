"""Times of arguments and of the output. Times without a zone are UTC."""

import re
from datetime import UTC, datetime, timedelta

from postern.cli.terminal import plain, stop

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str | None, now: datetime) -> str | None:
    """A time of an option, as RFC 3339 in UTC with milliseconds: `15m`, `2h` and `3d` are that long before `now`.
    Exits with 2 if it is not valid."""
    if text is None:
        return None
    try:
        found = _moment(text.strip(), now).astimezone(UTC)
    except (ValueError, OverflowError):
        stop(
            f"{option} {text}: not a valid time. Use a duration such as 15m, 2h or 3d, or a timestamp such as "
            "2026-01-31T10:00:00Z.",
            2,
        )
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(option: str, text: str | None) -> float:
    """A duration of an option, such as 8h, in seconds; 0 without one. Exits with 2 if it is not valid."""
    if text is None:
        return 0.0
    found = _AGO.fullmatch(text.strip())
    if not found or not int(found[1]):
        stop(f"{option} {text}: not a valid duration. Write it like 30m, 8h or 2d.", 2)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}).total_seconds() if int(found[1]) < 10**6 else 1e12


def window(since: str | None, until: str | None) -> dict[str, str | None]:
    """The options --since and --until as the API takes them."""
    now = datetime.now(UTC)
    return {"since": moment("--since", since, now), "until": moment("--until", until, now)}


def to_the_second(time: object) -> str:
    """A time of a record, for a line: `2026-01-31 10:00:00`."""
    return plain(str(time or "")[:19].replace("T", " "))


def to_the_millisecond(time: object) -> str:
    """A time of a record, in full: `2026-01-31 10:00:00.123Z`."""
    return plain(str(time or "").replace("T", " "))


def span(milliseconds: object) -> str:
    """A duration: `12 ms`, `3.4 s`, `2 min 5 s`, "" if it is not known."""
    if not isinstance(milliseconds, int | float) or not 0 <= milliseconds < 1e15:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s"


def between(start: object, end: object) -> str:
    """The duration from one time of a record to another."""
    try:
        took = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
    except (ValueError, TypeError):
        return ""
    return span(took / timedelta(milliseconds=1))


def _moment(text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
