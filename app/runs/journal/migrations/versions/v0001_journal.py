"""The journal's first tables."""

from alembic import op

from app.runs.journal.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    metadata.create_all(op.get_bind())
