"""Tables for runs that the server starts itself: by the clock, and after the failure of another run."""

from sqlalchemy import Column, Double, Index, PrimaryKeyConstraint, Table, Text

from postern.journal.metadata import metadata

schedules = Table(
    "schedules",
    metadata,
    Column("workflow", Text, nullable=False),
    Column("schedule", Text, nullable=False),  # the expression and the zone
    Column("since", Double, nullable=False),  # when this schedule was first seen: no earlier time is due
    Column("last_due", Double),  # the last due time that was decided about
    Column("run_id", Text),  # of that time; NULL if no run started
    Column("outcome", Text),  # of that time
    PrimaryKeyConstraint("workflow"),
)
"""One row for each workflow with a schedule. The due time in it decides which server process starts a run."""

failure_watches = Table(
    "failure_watches",
    metadata,
    Column("workflow", Text, nullable=False),
    Column("since", Double, nullable=False),  # no failure before it starts a run
    PrimaryKeyConstraint("workflow"),
)
"""One row for each workflow with the option `on_failure`."""

failure_notices = Table(
    "failure_notices",
    metadata,
    Column("run_id", Text, nullable=False),  # of the run that failed
    Column("claimed_at", Double, nullable=False),
    Column("notice_run_id", Text, nullable=False),  # of the run that reports it, "" if none does
    PrimaryKeyConstraint("run_id"),
)
"""Failed runs that are reported, so that none is reported twice."""

Index("failure_notices_by_time", failure_notices.c.claimed_at)
