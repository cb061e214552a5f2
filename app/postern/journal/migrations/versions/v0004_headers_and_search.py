"""The headers of requests, and texts in the form in which they are searched."""

import sqlalchemy as sa
from alembic import op

revision = "0004_for_0002"
down_revision = "0003_for_0002"
adds = ("runs.request_headers", "runs.search_text", "runs.search_error")


def upgrade() -> None:
    """Add the columns."""
    for name in ("request_headers", "search_text", "search_error"):
        op.add_column("runs", sa.Column(name, sa.Text()))


def downgrade() -> None:
    """Drop the columns."""
    for name in ("request_headers", "search_text", "search_error"):
        op.drop_column("runs", name)
