"""By which gateway and agent calls and requests of runs were sent."""

import sqlalchemy as sa
from alembic import op

revision = "0016_for_0002"
down_revision = "0015_for_0002"
adds = ("calls.gateway", "calls.agent", "calls.requests")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("calls", sa.Column("gateway", sa.Text()))
    op.add_column("calls", sa.Column("agent", sa.Text()))
    op.add_column("calls", sa.Column("requests", sa.Integer()))


def downgrade() -> None:
    """Drop them, and the rows of requests, which older programs would take for calls."""
    calls = sa.table("calls", sa.column("number", sa.Integer()))
    op.execute(calls.delete().where(calls.c.number >= 1_000_000_000))
    op.drop_column("calls", "requests")
    op.drop_column("calls", "agent")
    op.drop_column("calls", "gateway")
