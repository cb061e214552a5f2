"""What lets a durable run verify a decision, and notice that checkpoints are missing."""

import sqlalchemy as sa
from alembic import op

revision = "0015_for_0002"
down_revision = "0011_for_0002"
adds = ("approvals.decision", "approvals.decision_key_version", "durable_runs.checkpoints")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("approvals", sa.Column("decision", sa.Text()))
    op.add_column("approvals", sa.Column("decision_key_version", sa.Text()))
    op.add_column("durable_runs", sa.Column("checkpoints", sa.Integer()))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("durable_runs", "checkpoints")
    op.drop_column("approvals", "decision_key_version")
    op.drop_column("approvals", "decision")
