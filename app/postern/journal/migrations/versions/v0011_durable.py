"""Durable runs, their signals and approvals."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011_for_0002"
down_revision = "0010_for_0002"
adds = ("durable_runs", "signals", "approvals")


def upgrade() -> None:
    """Create the tables."""
    _create_durable_runs()
    _create_signals()
    _create_approvals()


def downgrade() -> None:
    """Drop them. Durable runs that have not ended are never completed: the page on durable runs says what to do."""
    for table in reversed(adds):
        op.drop_table(table)


def _create_durable_runs() -> None:
    op.create_table(
        "durable_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("waits_for", sa.Text()),
        sa.Column("wakes_at", sa.Double()),
        sa.Column("failed_step", sa.Integer()),
        sa.Column("repeat_from", sa.Integer()),
        sa.Column("repeats", sa.Integer()),
        sa.Column("key_version", sa.Text()),
        sa.Column("request", sa.Text()),
        sa.Column("resumed_by", sa.Text()),
        sa.Column("reply", sa.Text()),
        sa.Column("reply_key_version", sa.Text()),
        sa.Column("discard", sa.Integer()),
        sa.PrimaryKeyConstraint("run_id", name="durable_runs_key"),
    )
    unended = _where("phase <> 'ended'")
    op.create_index("durable_runs_by_phase", "durable_runs", ["phase", "workflow", "run_id"], **unended)
    op.create_index("durable_runs_by_owner", "durable_runs", ["owner"], **_where("owner IS NOT NULL"))
    op.create_index("durable_runs_by_wakes_at", "durable_runs", ["wakes_at"], **_where("phase = 'waiting'"))
    op.create_index("durable_runs_by_discard", "durable_runs", ["run_id"], **_where("discard = 1"))


def _create_signals() -> None:
    op.create_table(
        "signals",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.Double(), nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("taken_by", sa.Integer()),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("key_version", sa.Text()),
        sa.Column("body", sa.Text()),
        sa.Column("print", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "id", name="signals_key"),
    )
    op.create_index("signals_by_name", "signals", ["run_id", "name", "sent_at"], **_where("taken_by IS NULL"))


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("barred", sa.Text(), nullable=False),
        sa.Column("elsewhere", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Double()),
        sa.Column("decided_by", sa.Text()),
        sa.Column("comment", sa.Text()),
        sa.Column("key_version", sa.Text()),
        sa.Column("data", sa.Text()),
        sa.PrimaryKeyConstraint("run_id", "number", name="approvals_key"),
    )
    op.create_index("approvals_by_since", "approvals", ["since"], **_where("state = 'waiting'"))
    op.create_index("approvals_by_decided_at", "approvals", ["decided_at"], **_where("decided_at IS NOT NULL"))


def _where(condition: str) -> Any:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
