"""Which durable runs may not be at the same time, and which runs were resubmitted from one."""

import sqlalchemy as sa
from alembic import op

revision = "0014_for_0002"
down_revision = "0013_for_0002"
adds = ("durable_runs.concurrency_key",)


def upgrade() -> None:
    """Add the column, and an index of the durable runs that have not ended, and one of the runs that were resubmitted:
    both are small."""
    op.add_column("durable_runs", sa.Column("concurrency_key", sa.Text()))
    unended = sa.text("phase <> 'ended'")
    op.create_index(
        "durable_runs_by_key",
        "durable_runs",
        ["workflow", "phase", "concurrency_key", "run_id", "attempt", "deaths", "repeat_from"],
        sqlite_where=unended,
        postgresql_where=unended,
    )
    resubmitted = sa.text("resubmitted_from IS NOT NULL")
    op.create_index(
        "runs_by_resubmitted_from",
        "runs",
        ["resubmitted_from"],
        sqlite_where=resubmitted,
        postgresql_where=resubmitted,
    )


def downgrade() -> None:
    """Drop the indexes and the column."""
    op.drop_index("runs_by_resubmitted_from", "runs")
    op.drop_index("durable_runs_by_key", "durable_runs")
    op.drop_column("durable_runs", "concurrency_key")
