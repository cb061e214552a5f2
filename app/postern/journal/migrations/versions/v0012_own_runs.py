"""Schedules, and the runs that failures start."""

import sqlalchemy as sa
from alembic import op

revision = "0012_for_0002"
down_revision = "0011_for_0002"
adds = ("schedules", "failure_watches", "failure_notices")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "schedules",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("last_due", sa.Double()),
        sa.Column("run_id", sa.Text()),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("workflow", name="schedules_key"),
    )
    op.create_table(
        "failure_watches",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", name="failure_watches_key"),
    )
    op.create_table(
        "failure_notices",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.Column("notice_run_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="failure_notices_key"),
    )
    op.create_index("failure_notices_by_time", "failure_notices", ["claimed_at"])


def downgrade() -> None:
    """Drop them. Due times are no longer known: a schedule is new again after the next upgrade."""
    for table in reversed(adds):
        op.drop_table(table)
