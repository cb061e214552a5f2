"""The journal's tables for durable runs: the runs themselves, signals and approvals. Times are Unix seconds."""

from sqlalchemy import Column, Double, Integer, PrimaryKeyConstraint, Table, Text, text

from postern.journal.metadata import metadata, partial_index

durable_runs = Table(
    "durable_runs",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("phase", Text, nullable=False),  # see `journal.durable_runs.Phase`
    Column("owner", Text),  # the server process that runs it, or waits for it in memory
    Column("attempt", Integer, nullable=False),  # how often it was taken by a server process
    Column("deaths", Integer, nullable=False),  # how many server processes died while its code ran
    Column("digest", Text, nullable=False),  # of the file with its workflow, when it was accepted or parked
    Column("reason", Text),  # why it waits: see `journal.durable_runs.Reason`
    Column("waits_for", Text),  # the name of the signal or approval
    Column("wakes_at", Double),  # when it goes on without one; NULL if it waits without a limit
    Column("failed_step", Integer),  # the checkpoint of the step whose error ended the run
    Column("repeat_from", Integer),  # of a resumed run that has not begun again: see `journal.durable_ends`
    Column("repeats", Integer),  # how often it was resumed so that a step is repeated; NULL for never
    Column("key_version", Text),  # of the key that sealed the request; NULL if it is not sealed
    Column("request", Text),  # what is needed to run it: gone when it has succeeded
    Column("resumed_by", Text),  # JSON: who resumed it, as [tenant, object] pairs; NULL if nobody did
    Column("reply", Text),  # the whole reply, sealed; NULL where the record has all of it
    Column("reply_key_version", Text),  # of the key that sealed the reply
    Column("checkpoints", Integer),  # how many were kept when it last began to wait; NULL if that is not known
    Column("discard", Integer),  # 1 once it has succeeded, until its checkpoints are deleted
    Column("concurrency_key", Text),  # a digest of the workflow and the key; NULL if the workflow has none
    PrimaryKeyConstraint("run_id"),
)
"""Runs that outlive the request, the server process and the machine that accepted them."""

_OPEN = text("phase <> 'ended'")
partial_index(
    "durable_runs_by_phase",
    durable_runs.c.phase,
    durable_runs.c.workflow,
    durable_runs.c.run_id,
    where=_OPEN,
)
_OWNED = text("owner IS NOT NULL")
partial_index("durable_runs_by_owner", durable_runs.c.owner, where=_OWNED)
_WAKES = text("phase = 'waiting'")
partial_index("durable_runs_by_wakes_at", durable_runs.c.wakes_at, where=_WAKES)

_OF_CLAIMS = ("workflow", "phase", "concurrency_key", "run_id", "attempt", "deaths", "repeat_from")
partial_index(
    "durable_runs_by_key",
    *(durable_runs.c[name] for name in _OF_CLAIMS),  # all that claims look at: they read no rows, which are large
    where=_OPEN,
)

_DISCARDED = text("discard = 1")
partial_index("durable_runs_by_discard", durable_runs.c.run_id, where=_DISCARDED)

signals = Table(
    "signals",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("id", Text, nullable=False),  # new, or a digest of the sender's Idempotency-Key
    Column("name", Text, nullable=False),
    Column("sent_at", Double, nullable=False),  # they are taken in this order
    Column("sent_by", Text, nullable=False),  # JSON, as `journal.run.actor` writes it
    Column("taken_by", Integer),  # the checkpoint that took it; NULL while it waits
    Column("size", Integer, nullable=False),  # bytes of the body as it was sent
    Column("key_version", Text),
    Column("body", Text),  # JSON, or sealed; gone with the outcome
    Column("print", Text),  # which signal its sender's Idempotency-Key was used for; NULL without one
    PrimaryKeyConstraint("run_id", "id"),
)
"""What was sent to durable runs (`POST /runs/{id}/signals/{name}`)."""

_UNTAKEN = text("taken_by IS NULL")
partial_index(
    "signals_by_name",
    signals.c.run_id,
    signals.c.name,
    signals.c.sent_at,
    where=_UNTAKEN,
)

approvals = Table(
    "approvals",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("number", Integer, nullable=False),  # the checkpoint that asked for it
    Column("name", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("who", Text, nullable=False),  # JSON: the access mode of `who=`
    Column("barred", Text, nullable=False),  # JSON: object ids of those who may not decide
    Column("elsewhere", Integer, nullable=False),  # 1 if the person who began the chain of calls is not known
    Column("since", Double, nullable=False),
    Column("until", Double),
    Column("state", Text, nullable=False),  # waiting, approved, rejected, timed-out, ended
    Column("decided_at", Double),
    Column("decided_by", Text),  # JSON, as `journal.run.actor` writes it
    Column("comment", Text),
    Column("key_version", Text),
    Column("data", Text),  # JSON, or sealed: what the approver sees
    Column("decision", Text),  # the whole decision, sealed: the run verifies it; NULL without a key
    Column("decision_key_version", Text),
    PrimaryKeyConstraint("run_id", "number"),
)
"""Decisions of people that durable runs wait for."""

_WAITING = text("state = 'waiting'")
partial_index("approvals_by_since", approvals.c.since, where=_WAITING)
_DECIDED = text("decided_at IS NOT NULL")
partial_index("approvals_by_decided_at", approvals.c.decided_at, where=_DECIDED)
