"""The calls that runs make to triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
adds = ("calls",)


def upgrade() -> None:
    """Create the table of calls."""
    op.create_table(
        "calls",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("child_run_id", sa.Text()),
        sa.Column("url", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
        sa.Column("error_type", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "number", name="calls_key"),
    )


def downgrade() -> None:
    """Drop the table of calls."""
    op.drop_table("calls")
