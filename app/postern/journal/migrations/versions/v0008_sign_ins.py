"""People who sign in with a browser: authorization requests under way, and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0008_for_0002"
down_revision = "0007_for_0002"
adds = ("authorizations", "sessions")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "authorizations",
        sa.Column("state_hash", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_by", sa.Text()),
        sa.PrimaryKeyConstraint("state_hash", name="authorizations_key"),
    )
    op.create_index("authorizations_by_time", "authorizations", ["created_at"])
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name="sessions_key"),
    )
    op.create_index("sessions_by_person", "sessions", ["object_id", "tenant_id"])


def downgrade() -> None:
    """Drop them: everybody signs in again."""
    op.drop_table("sessions")
    op.drop_table("authorizations")
