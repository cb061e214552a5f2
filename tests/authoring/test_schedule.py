"""Schedules: what a cron expression means, and which field of a faulty one is wrong."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postern import Context, workflow
from postern.authoring.schedule import Schedule, schedule_of
from postern.authoring.signature import WorkflowFault

MADRID = "Europe/Madrid"

CLOCK_CHANGES = [
    # In Madrid the clock goes from 02:00 to 03:00 on 2027-03-28, and from 03:00 back to 02:00 on 2027-10-31.
    # A time that does not exist is due when the clock has changed.
    ("30 2 * * *", "2027-03-27 12:00", ["2027-03-28 03:00+02:00", "2027-03-29 02:30+02:00"]),
    # So is each of several such times, but no time is due twice.
    ("15,45 2 * * *", "2027-03-27 12:00", ["2027-03-28 03:00+02:00", "2027-03-29 02:15+02:00"]),
    ("0 2,3 * * *", "2027-03-27 12:00", ["2027-03-28 03:00+02:00", "2027-03-29 02:00+02:00"]),
    # A time that comes twice is due the first time.
    ("30 2 * * *", "2027-10-30 12:00", ["2027-10-31 02:30+02:00", "2027-11-01 02:30+01:00"]),
    # A * in the hour or the minute means elapsed time: it goes through both hours, and through none that is left out.
    ("30 * * * *", "2027-10-31 01:00", ["2027-10-31 01:30+02:00", "2027-10-31 02:30+02:00", "2027-10-31 02:30+01:00"]),
    (
        "*/30 2 * * *",
        "2027-10-31 01:00",
        ["2027-10-31 02:00+02:00", "2027-10-31 02:30+02:00", "2027-10-31 02:00+01:00"],
    ),
    ("30 * * * *", "2027-03-28 01:00", ["2027-03-28 01:30+01:00", "2027-03-28 03:30+02:00"]),
    # Other times are those of the clock on the wall.
    ("0 7 * * MON-FRI", "2027-03-26 12:00", ["2027-03-29 07:00+02:00"]),
    ("0 7 * * MON-FRI", "2027-10-29 12:00", ["2027-11-01 07:00+01:00"]),
]

FAULTS = [
    ({"schedule": "99 7 * * *"}, "the minute, '99'"),
    ({"schedule": "0 25 * * *"}, "the hour, '25'"),
    ({"schedule": "0 7 0 * *"}, "the day of the month, '0'"),
    ({"schedule": "0 7 * 13 *"}, "the month, '13'"),
    ({"schedule": "0 7 * * MOO"}, "the day of the week, 'MOO'"),
    ({"schedule": "*/0 7 * * *"}, "the minute, '*/0'"),
    ({"schedule": "0 7 30 2 *"}, "never comes"),
    ({"schedule": "0 7 31 4,6 *"}, "never comes"),
    ({"schedule": "0 7 * *"}, "write five fields"),
    ({"schedule": "0 0 7 * * *"}, "write five fields"),
    ({"schedule": "@daily"}, "write five fields"),
    ({"schedule": ""}, "write five fields"),
    ({"schedule": 7}, "takes a cron expression"),
    ({"schedule": "0 7 * * *" + " " * 300}, "at most 200 characters"),
    ({"schedule": "0 7 * * *", "timezone": "Europe/Mdrid"}, "Did you mean 'Europe/Madrid'?"),
    ({"schedule": "0 7 * * *", "timezone": "Europe"}, "timezone='Europe' is not a name"),
    ({"schedule": "0 7 * * *", "timezone": "../zoneinfo"}, "timezone='../zoneinfo' is not a name"),
    ({"schedule": "0 7 * * *", "timezone": ""}, "timezone='' is not a name"),
    ({"schedule": "0 7 * * *", "timezone": "CEST"}, 'database, like timezone="Europe/Madrid"'),
    ({"schedule": "0 7 * * *", "timezone": "Madrid"}, "Did you mean 'Europe/Madrid'"),
    ({"schedule": "0 7 * * *", "timezone": 1}, "timezone=1 is not a name"),
    ({"timezone": MADRID}, "timezone='Europe/Madrid' needs a schedule"),
    ({"missed": "once"}, "missed='once' needs a schedule"),
    ({"schedule": "0 7 * * *", "missed": "all"}, "missed='all'"),
]


def made(**options: object) -> Schedule:
    schedule = schedule_of(options.get("schedule"), options.get("timezone"), options.get("missed"))
    assert schedule is not None
    return schedule


@pytest.mark.parametrize(("expression", "after", "times"), CLOCK_CHANGES)
def test_a_change_of_the_clock_is_treated_as_by_cron(expression: str, after: str, times: list[str]):
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(MADRID)).timestamp()
    found = made(schedule=expression, timezone=MADRID).next_times(start, len(times))
    assert [each.isoformat(" ", "minutes") for each in found] == times


@pytest.mark.parametrize(("options", "says"), FAULTS)
def test_a_faulty_option_is_a_fault_that_names_it(options: dict[str, object], says: str):
    with pytest.raises(WorkflowFault) as fault:
        workflow(**options)  # type: ignore[call-overload]
    assert says in str(fault.value)
    assert str(fault.value).startswith(tuple(f"{option}=" for option in options))


def test_zones_are_there_where_the_system_has_none():
    before = zoneinfo.TZPATH
    try:
        zoneinfo.reset_tzpath(to=[])
        assert zoneinfo.ZoneInfo.no_cache(MADRID).utcoffset(datetime(2027, 7, 1)) == timedelta(hours=2)  # noqa: DTZ001
    finally:
        zoneinfo.reset_tzpath(to=before)


def test_spelling_does_not_matter():
    schedule = made(schedule="  0  7 * jan-mar mon-fri ")
    assert schedule == Schedule("0 7 * JAN-MAR MON-FRI", "UTC", "skip")
    assert schedule.text == "0 7 * JAN-MAR MON-FRI UTC"


def test_a_workflow_has_the_schedule_beside_its_trigger():
    @workflow(schedule="0 7 * * MON-FRI", timezone=MADRID, missed="once")
    async def report(ctx: Context, note: str = "") -> None:
        """Report."""

    assert report.schedule == Schedule("0 7 * * MON-FRI", MADRID, "once")
    assert report.methods == ("POST",)


def test_a_parameter_without_a_default_is_a_fault():
    async def body(ctx: Context, given: dict[str, str]) -> None:
        """Take a body."""

    async def path(ctx: Context, given: str = "", order: int = 0) -> None:
        """Take a part of the path, and have defaults."""

    async def bare(ctx: Context, given: str, order: int) -> None:
        """Take both."""

    with pytest.raises(WorkflowFault, match=r"schedule=: body\(\) needs 'given'"):
        workflow(schedule="0 7 * * *")(body)
    with pytest.raises(WorkflowFault, match=r"schedule=: bare\(\) needs 'given'"):
        workflow(schedule="0 7 * * *", path="/{order}")(bare)
    assert workflow(schedule="0 7 * * *", path="/{order}")(path).schedule is not None


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5,35", "10-20/5"]),
    st.sampled_from(["*", "2", "3", "*/5", "0-4", "23"]),
    st.sampled_from(["*", "1", "L", "28-31", "*/9", "LW"]),
    st.sampled_from(["*", "2", "MAR", "3,10", "*/4"]),
    st.sampled_from(["*", "MON-FRI", "SUN", "7", "5L", "1#2"]),
)
ZONES = st.sampled_from(
    [MADRID, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
)
MOMENTS = st.integers(*(int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2026, 2030))).map(float)


@given(FIELDS, ZONES, MOMENTS)
@example(("30", "2", "*", "*", "*"), MADRID, datetime(2027, 10, 31, 1, 15, tzinfo=UTC).timestamp())
@example(("0", "*/5", "*", "3,10", "*"), "Australia/Lord_Howe", 1838034000.0)
@example(("30", "*/5", "*", "3,10", "SUN"), "Australia/Lord_Howe", 1774704600.0)
def test_due_times_go_forward_and_the_latest_is_the_last_of_them(fields: tuple[str, ...], zone: str, moment: float):
    schedule = made(schedule=" ".join(fields), timezone=zone)
    times = list(islice(schedule.after(moment), 6))
    assert times == sorted(set(times))
    assert all(at > moment for at in times)
    for before, after in pairwise(times):
        between = (before + after) / 2
        assert schedule.latest(between) == before
        assert next(schedule.after(between)) == after


def test_no_time_is_left_out_where_clocks_change_by_half_an_hour():
    schedule = made(schedule="0 */5 * * *", timezone="Australia/Lord_Howe")
    for year, month, day in ((2028, 10, 1), (2028, 4, 2)):
        start = datetime(year, month, day, tzinfo=ZoneInfo("Australia/Lord_Howe")) - timedelta(seconds=1)
        hours = [each.hour for each in schedule.next_times(start.timestamp(), 6)]
        assert hours == [0, 5, 10, 15, 20, 0]


@given(st.text(alphabet="0123456789*/-,LW# MONFRIJAN\x00é", max_size=40))
def test_any_text_is_a_schedule_or_a_fault(text: str):
    try:
        schedule = made(schedule=text)
    except WorkflowFault:
        return
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert next(schedule.after(start.timestamp())) <= (start + timedelta(days=51 * 366)).timestamp()
