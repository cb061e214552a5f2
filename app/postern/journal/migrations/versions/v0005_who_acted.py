"""Who cancelled a run, and who resubmitted one."""

import sqlalchemy as sa
from alembic import op

revision = "0005_for_0002"
down_revision = "0004_for_0002"
adds = ("runs.cancelled_by", "runs.resubmitted_by")


def upgrade() -> None:
    """Add the two columns."""
    op.add_column("runs", sa.Column("cancelled_by", sa.Text()))
    op.add_column("runs", sa.Column("resubmitted_by", sa.Text()))


def downgrade() -> None:
    """Drop the two columns."""
    op.drop_column("runs", "resubmitted_by")
    op.drop_column("runs", "cancelled_by")
