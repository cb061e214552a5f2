"""Through what a run was started or a request came that was not sent to a trigger's URL, and for which agent."""

import sqlalchemy as sa
from alembic import op

revision = "0017_for_0002"
down_revision = "0016_for_0002"
adds = ("runs.via", "runs.via_client", "runs.agent", "refusals.via", "refusals.via_client")


def upgrade() -> None:
    """Add the columns and the index."""
    for name in ("via", "via_client", "agent"):
        op.add_column("runs", sa.Column(name, sa.Text()))
    for name in ("via", "via_client"):
        op.add_column("refusals", sa.Column(name, sa.Text()))
    where = sa.text("via IS NOT NULL")
    op.create_index("runs_by_via", "runs", ["via", "id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("runs_by_via", "runs")
    for name in ("via_client", "via"):
        op.drop_column("refusals", name)
    for name in ("agent", "via_client", "via"):
        op.drop_column("runs", name)
