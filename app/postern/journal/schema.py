"""The journal's tables. Times are Unix seconds; ids are UUIDs of version 7, and so in order of time."""

from sqlalchemy import Column, Double, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from postern.journal.durable_tables import approvals, durable_runs, signals
from postern.journal.metadata import metadata, partial_index
from postern.journal.own_run_tables import failure_notices, failure_watches, schedules
from postern.journal.run_log_table import run_logs
from postern.journal.security_tables import (
    audit_chains,
    audit_checkpoints,
    audit_events,
    findings,
    known_callers,
    revocations,
    signed_urls,
)

__all__ = [
    "approvals",
    "audit_chains",
    "audit_checkpoints",
    "audit_events",
    "authorizations",
    "calls",
    "clock",
    "durable_runs",
    "failure_notices",
    "failure_watches",
    "findings",
    "grants",
    "idempotency_keys",
    "invitations",
    "known_callers",
    "metadata",
    "nodes",
    "refusals",
    "revocations",
    "run_logs",
    "runs",
    "schedules",
    "sessions",
    "signals",
    "signed_urls",
    "steps",
]

runs = Table(
    "runs",
    metadata,
    Column("id", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Integer),
    Column("caller_kind", Text, nullable=False),
    Column("object_id", Text),
    Column("tenant_id", Text),
    Column("client_id", Text),
    Column("caller_name", Text),
    Column("client_address", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    # For running it again, if it was not a plain POST of JSON: method, path parameters, query, content type.
    Column("request", Text),
    Column("inputs_form", Text),
    Column("outputs_form", Text),
    # The reply's own headers, as a JSON list of pairs, if there is more than the content type of JSON.
    Column("reply_headers", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_shown", Integer),
    Column("parent_run_id", Text),
    Column("resubmitted_from", Text),
    Column("trace_id", Text),  # of the caller; if it named none, the trace begins with the run
    Column("node", Text, nullable=False),
    Column("cancel_requested_at", Double),
    Column("error_traceback", Text),  # for operators
    Column("cancelled_by", Text),  # this and the next: JSON, as `journal.run.actor` writes it
    Column("resubmitted_by", Text),
    Column("kept_bytes", Integer),  # of an anonymous caller's run: see `journal.storage`
    Column("via", Text),  # through what it was started, such as mcp; NULL for a request to the trigger's URL
    Column("via_client", Text),  # JSON: the name and the version that the client gives itself
    Column("agent", Text),  # JSON: the agent of the caller's token, as the record's `agent` shows it
    # Last, so that a row is read without them if they are not selected.
    Column("inputs", Text),
    Column("outputs", Text),
    # The headers that the workflow may see, as a JSON list of pairs. The value of one that is not recorded is null.
    Column("request_headers", Text),
    # Names and bodies, and the error's message, in the form of `journal.search_text` if they need it.
    Column("search_text", Text),
    Column("search_error", Text),
    PrimaryKeyConstraint("id"),
)
"""Every run but those of stateless workflows. The forms of inputs and outputs are those of `journal.body_form.Form`."""

Index("runs_by_workflow", runs.c.workflow, runs.c.id)
Index("runs_by_caller", runs.c.object_id, runs.c.id)
_UNUSUAL = text("state <> 'Succeeded'")
partial_index("runs_by_state", runs.c.state, runs.c.id, where=_UNUSUAL)
_NESTED = text("parent_run_id IS NOT NULL")
partial_index("runs_by_parent", runs.c.parent_run_id, runs.c.id, where=_NESTED)
_AGAIN = text("resubmitted_from IS NOT NULL")
partial_index("runs_by_resubmitted_from", runs.c.resubmitted_from, where=_AGAIN)

_VIA = text("via IS NOT NULL")
partial_index("runs_by_via", runs.c.via, runs.c.id, where=_VIA)

_COUNTED = text("kept_bytes IS NOT NULL")
partial_index("runs_by_size", runs.c.workflow, runs.c.id, runs.c.kept_bytes, where=_COUNTED)

steps = Table(
    "steps",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("attempts", Text, nullable=False),  # a JSON list of [started_at, ended_at, error]
    PrimaryKeyConstraint("run_id", "number"),
)

calls = Table(
    "calls",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("step", Integer),  # the number of the step in which it was made
    Column("name", Text, nullable=False),
    Column("child_run_id", Text),
    Column("url", Text),  # the address of that run, without a query; NULL if it is on this server
    Column("status", Integer),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("error_type", Text),
    Column("gateway", Text),  # this and the next: by which it was sent
    Column("agent", Text),
    Column("requests", Integer),  # how many further requests by gateways this row stands for
    PrimaryKeyConstraint("run_id", "number"),
)
"""Calls that runs made to triggers, on this server and elsewhere, and their requests by gateways."""

FIRST_REQUEST = 1_000_000_000
"""The least number of a request in that table. Those of calls are smaller."""

refusals = Table(
    "refusals",
    metadata,
    Column("id", Text, nullable=False),  # the request_id of the first of them
    Column("reason", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("client_address", Text, nullable=False),
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("count", Integer, nullable=False),
    Column("request_ids", Text, nullable=False),  # the first ones, separated by spaces
    Column("claimed", Text),  # JSON: the identity in the token, and whether it was verified
    Column("checks", Text, nullable=False),  # JSON: list of {name, passed, expected, found}
    Column("via", Text),  # this and the next: as in `runs`; the client is that of the first of them
    Column("via_client", Text),
    PrimaryKeyConstraint("id"),
)
"""Refusals: rejected requests, grouped by reason, address and workflow."""

Index("refusals_by_workflow", refusals.c.workflow, refusals.c.id)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, nullable=False),  # a digest of workflow, caller and key; see `journal.singletons` too
    Column("fingerprint", Text, nullable=False),  # a digest of the request; "" for a singleton
    Column("run_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("status", Integer),  # this and the following: the reply, when there is one
    Column("reply_headers", Text),
    Column("content", Text),
    Column("content_form", Text),
    # This and the following are for `journal.storage`. A key of a release before 0.2 has none of them.
    Column("workflow", Text),
    Column("holder", Text),
    Column("kept_bytes", Integer),
    PrimaryKeyConstraint("scope"),
)
Index("idempotency_keys_by_run", idempotency_keys.c.run_id)
Index("idempotency_keys_by_time", idempotency_keys.c.created_at)
_HELD = text("holder IS NOT NULL")
partial_index(
    "idempotency_keys_by_holder",
    *(idempotency_keys.c[name] for name in ("holder", "workflow", "created_at", "kept_bytes")),
    where=_HELD,
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("process", Text, nullable=False),  # its number and when it started, because numbers are reused
    Column("started_at", Double, nullable=False),
    Column("beat", Integer, nullable=False),  # counts up while the process lives
    PrimaryKeyConstraint("id"),
)
"""The server processes that write here."""

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, nullable=False, autoincrement=False),
    Column("confirmed_at", Double, nullable=False),
    PrimaryKeyConstraint("id"),
)
"""One row: the time by which records are old (see `journal.clock`)."""

authorizations = Table(
    "authorizations",
    metadata,
    Column("state_hash", Text, nullable=False),
    Column("browser_hash", Text, nullable=False),  # of the secret that the browser keeps
    Column("kind", Text, nullable=False),  # what for, such as "sign-in"
    Column("about", Text, nullable=False),  # of that kind, such as the page to go to afterwards
    Column("created_at", Double, nullable=False),
    Column("used_by", Text),  # the request that took it
    PrimaryKeyConstraint("state_hash"),
)
"""Authorization requests that browsers were sent to a provider with. Nothing in it is a secret."""

Index("authorizations_by_time", authorizations.c.created_at)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False),  # a JSON list
    Column("address", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    PrimaryKeyConstraint("id_hash"),
)
"""People who are signed in with a browser."""

Index("sessions_by_person", sessions.c.object_id, sessions.c.tenant_id)

grants = Table(
    "grants",
    metadata,
    Column("connection", Text, nullable=False),  # the name of the entry, as `journal.grants.grant_name` writes it
    Column("owner", Text, nullable=False),  # "tenant/object", or "" if the connection is shared
    Column("account", Text, nullable=False),  # who signed in at the provider, "" if it does not say
    Column("account_name", Text, nullable=False),  # for showing only
    Column("tenant", Text, nullable=False),  # of that account, "" but for Entra
    Column("scopes", Text, nullable=False),  # a JSON list
    Column("instance_url", Text, nullable=False),  # the base URL that the provider named, "" if it named none
    Column("sealed", Text, nullable=False),  # both tokens
    Column("key_version", Text, nullable=False),  # of the secret in Key Vault that sealed them
    Column("generation", Integer, nullable=False),  # counts up with each new pair of tokens
    Column("attempt", Text),  # the refresh in progress, and the server process that makes it
    Column("holder", Text),
    Column("wrote", Text),  # the refresh that wrote this generation
    Column("access_expires_at", Double),  # NULL if the provider does not say
    Column("refresh_expires_at", Double),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("claims", Text),  # of a challenge: requested by the last refresh, or for the next sign-in
    Column("created_by", Text, nullable=False),  # "tenant/object" of the person who connected it
    Column("connected_at", Double, nullable=False),
    Column("used_at", Double),
    Column("history", Text, nullable=False),  # a JSON list of the last events
    PrimaryKeyConstraint("connection", "owner"),
)
"""What people granted: one row for each connection and owner."""

Index("grants_by_owner", grants.c.owner, grants.c.connection)

invitations = Table(
    "invitations",
    metadata,
    Column("hash", Text, nullable=False),  # of the secret in the link
    Column("connection", Text, nullable=False),
    Column("owner", Text, nullable=False),  # the only person who can use it
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_by", Text),  # the request that used it
    PrimaryKeyConstraint("hash"),
)
"""Links by which operators ask people to connect something."""

Index("invitations_by_time", invitations.c.created_at)
