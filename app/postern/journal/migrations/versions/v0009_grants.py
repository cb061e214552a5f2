"""What people granted, and links by which they are asked to."""

import sqlalchemy as sa
from alembic import op

revision = "0009_for_0002"
down_revision = "0008_for_0002"
adds = ("grants", "invitations")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "grants",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("account_name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("instance_url", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Text()),
        sa.Column("holder", sa.Text()),
        sa.Column("wrote", sa.Text()),
        sa.Column("access_expires_at", sa.Double()),
        sa.Column("refresh_expires_at", sa.Double()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("claims", sa.Text()),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("connected_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double()),
        sa.Column("history", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "owner", name="grants_key"),
    )
    op.create_index("grants_by_owner", "grants", ["owner", "connection"])
    op.create_table(
        "invitations",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_by", sa.Text()),
        sa.PrimaryKeyConstraint("hash", name="invitations_key"),
    )
    op.create_index("invitations_by_time", "invitations", ["created_at"])


def downgrade() -> None:
    """Drop them: people connect again."""
    op.drop_table("invitations")
    op.drop_table("grants")
