"""The traceback of a run's error, for operators."""

import sqlalchemy as sa
from alembic import op

revision = "0003_for_0002"
down_revision = "0002"
adds = ("runs.error_traceback",)


def upgrade() -> None:
    """Add the column."""
    op.add_column("runs", sa.Column("error_traceback", sa.Text()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("runs", "error_traceback")
