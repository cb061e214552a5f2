"""What runs printed and logged."""

import sqlalchemy as sa
from alembic import op

revision = "0013_for_0002"
down_revision = "0012_for_0002"
adds = ("run_logs",)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "run_logs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("secured", sa.Integer(), nullable=False),
        sa.Column("workflow", sa.Text()),
        sa.Column("kept_bytes", sa.Integer()),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "attempt", "number", name="run_logs_key"),
    )
    counted = sa.text("kept_bytes IS NOT NULL")
    op.create_index(
        "run_logs_by_size",
        "run_logs",
        ["workflow", "run_id", "kept_bytes"],
        sqlite_where=counted,
        postgresql_where=counted,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("run_logs")
