"""The journal's first tables: runs, their steps, refusals, idempotency keys and server processes (`nodes`)."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
adds = ("runs", "steps", "refusals", "idempotency_keys", "nodes")


def upgrade() -> None:
    """Create the tables."""
    _runs()
    _steps()
    _refusals()
    _idempotency_keys()
    _nodes()


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("caller_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text()),
        sa.Column("tenant_id", sa.Text()),
        sa.Column("client_id", sa.Text()),
        sa.Column("caller_name", sa.Text()),
        sa.Column("client_address", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.Column("request", sa.Text()),
        sa.Column("inputs_form", sa.Text()),
        sa.Column("outputs_form", sa.Text()),
        sa.Column("reply_headers", sa.Text()),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("error_shown", sa.Integer()),
        sa.Column("parent_run_id", sa.Text()),
        sa.Column("resubmitted_from", sa.Text()),
        sa.Column("trace_id", sa.Text()),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("cancel_requested_at", sa.Double()),
        sa.Column("inputs", sa.Text()),
        sa.Column("outputs", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="runs_key"),
    )
    op.create_index("runs_by_workflow", "runs", ["workflow", "id"])
    op.create_index("runs_by_caller", "runs", ["object_id", "id"])
    unusual = sa.text("state <> 'Succeeded'")
    op.create_index("runs_by_state", "runs", ["state", "id"], sqlite_where=unusual, postgresql_where=unusual)
    nested = sa.text("parent_run_id IS NOT NULL")
    op.create_index("runs_by_parent", "runs", ["parent_run_id", "id"], sqlite_where=nested, postgresql_where=nested)


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="steps_key"),
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("client_address", sa.Text(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("request_ids", sa.Text(), nullable=False),
        sa.Column("claimed", sa.Text()),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="refusals_key"),
    )
    op.create_index("refusals_by_workflow", "refusals", ["workflow", "id"])


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("reply_headers", sa.Text()),
        sa.Column("content", sa.Text()),
        sa.Column("content_form", sa.Text()),
        sa.PrimaryKeyConstraint("scope", name="idempotency_keys_key"),
    )
    op.create_index("idempotency_keys_by_run", "idempotency_keys", ["run_id"])
    op.create_index("idempotency_keys_by_time", "idempotency_keys", ["created_at"])


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("beat", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="nodes_key"),
    )
