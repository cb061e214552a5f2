"""The journal's table of what runs printed and logged."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Table, Text, text

from postern.journal.metadata import metadata, partial_index

run_logs = Table(
    "run_logs",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # of a durable run, else 1
    Column("number", Integer, nullable=False),  # counts up in an attempt
    Column("kept", Integer, nullable=False),  # lines in `lines`, and the bytes of their texts
    Column("bytes", Integer, nullable=False),
    Column("left_out", Integer, nullable=False),  # lines that were too many
    Column("secured", Integer, nullable=False),  # lines of a secured workflow, which are only counted
    Column("workflow", Text),  # this and the next: of an anonymous caller's run, see `journal.storage`
    Column("kept_bytes", Integer),
    Column("lines", Text, nullable=False),  # a JSON list of [at, source, level, logger, text]
    PrimaryKeyConstraint("run_id", "attempt", "number"),
)
"""Some lines of a run, in each row."""

_COUNTED = text("kept_bytes IS NOT NULL")
partial_index(
    "run_logs_by_size",
    run_logs.c.workflow,
    run_logs.c.run_id,
    run_logs.c.kept_bytes,
    where=_COUNTED,
)
