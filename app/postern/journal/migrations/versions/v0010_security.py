"""The audit log, findings, what is known of callers, revocations, and signed URLs."""

import sqlalchemy as sa
from alembic import op

revision = "0010_for_0002"
down_revision = "0009_for_0002"
adds = (
    "audit_events",
    "audit_chains",
    "audit_checkpoints",
    "findings",
    "known_callers",
    "revocations",
    "signed_urls",
)


def upgrade() -> None:
    """Create the tables."""
    _create_audit_tables()
    _create_findings_tables()
    _create_revocations()
    _create_signed_urls()


def downgrade() -> None:
    """Drop them. Tokens that were revoked are accepted again, and signed URLs are unknown."""
    for table in reversed(adds):
        op.drop_table(table)


def _create_audit_tables() -> None:
    op.create_table(
        "audit_events",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text()),
        sa.Column("workflow", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "number", name="audit_events_key"),
    )
    op.create_index("audit_events_by_at", "audit_events", ["at", "node", "number"])
    op.create_index("audit_events_by_kind", "audit_events", ["kind", "at"])
    op.create_table(
        "audit_chains",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("checkpoints", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("node", name="audit_chains_key"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text()),
        sa.Column("key_id", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="audit_checkpoints_key"),
    )


def _create_findings_tables() -> None:
    op.create_table(
        "findings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("caller_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text()),
        sa.Column("tenant_id", sa.Text()),
        sa.Column("client_id", sa.Text()),
        sa.Column("caller_name", sa.Text()),
        sa.Column("token_id", sa.Text()),
        sa.Column("client_address", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_by", sa.Text()),
        sa.Column("state_at", sa.Double()),
        sa.Column("alerted_at", sa.Double()),
        sa.PrimaryKeyConstraint("subject", "kind", "day", name="findings_key"),
    )
    op.create_index("findings_by_id", "findings", ["id"])
    op.create_table(
        "known_callers",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "fact", "value", name="known_callers_key"),
    )
    op.create_index("known_callers_by_last_at", "known_callers", ["last_at"])


def _create_revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("bars_until", sa.Double()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("lifted_by", sa.Text()),
        sa.Column("lifted_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="revocations_key"),
    )


def _create_signed_urls() -> None:
    op.create_table(
        "signed_urls",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("path", sa.Text()),
        sa.Column("fixed", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double()),
        sa.Column("revoked_by", sa.Text()),
        sa.Column("revoked_at", sa.Double()),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.Double()),
        sa.PrimaryKeyConstraint("workflow", "id", name="signed_urls_key"),
    )
