"""How many bytes idempotency keys and runs of anonymous callers take, and whose keys they are."""

import sqlalchemy as sa
from alembic import op

revision = "0006_for_0002"
down_revision = "0005_for_0002"
adds = ("runs.kept_bytes", "idempotency_keys.workflow", "idempotency_keys.holder", "idempotency_keys.kept_bytes")


def upgrade() -> None:
    """Add the columns, and an index on each of the two tables that covers the sums. Both indexes are small at first:
    existing rows have no holder, and the runs of callers with a token are in neither."""
    op.add_column("runs", sa.Column("kept_bytes", sa.Integer()))
    op.add_column("idempotency_keys", sa.Column("workflow", sa.Text()))
    op.add_column("idempotency_keys", sa.Column("holder", sa.Text()))
    op.add_column("idempotency_keys", sa.Column("kept_bytes", sa.Integer()))
    counted = sa.text("kept_bytes IS NOT NULL")
    held = sa.text("holder IS NOT NULL")
    op.create_index(
        "runs_by_size",
        "runs",
        ["workflow", "id", "kept_bytes"],
        sqlite_where=counted,
        postgresql_where=counted,
    )
    op.create_index(
        "idempotency_keys_by_holder",
        "idempotency_keys",
        ["holder", "workflow", "created_at", "kept_bytes"],
        sqlite_where=held,
        postgresql_where=held,
    )


def downgrade() -> None:
    """Drop the indexes and the columns."""
    op.drop_index("idempotency_keys_by_holder", "idempotency_keys")
    op.drop_index("runs_by_size", "runs")
    op.drop_column("idempotency_keys", "kept_bytes")
    op.drop_column("idempotency_keys", "holder")
    op.drop_column("idempotency_keys", "workflow")
    op.drop_column("runs", "kept_bytes")
