"""The time that is confirmed by time that passed, by which records are old."""

import sqlalchemy as sa
from alembic import op

revision = "0007_for_0002"
down_revision = "0006_for_0002"
adds = ("clock",)


def upgrade() -> None:
    """Create the table. Its only row is made by the first server process that deletes old records."""
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("confirmed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="clock_key"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("clock")
