"""The journal's tables for operating: the audit log, findings, revocations and signed URLs. Times are Unix seconds."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, PrimaryKeyConstraint, Table, Text

from postern.journal.metadata import metadata

audit_events = Table(
    "audit_events",
    metadata,
    Column("node", Text, nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, 3 ... in each node
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),  # this and the next two are for filters, and are in the body too
    Column("subject", Text),  # the object id of who did it, or of who it was done to
    Column("workflow", Text),
    Column("body", Text, nullable=False),  # canonical JSON: what the hash is of
    Column("hash", Text, nullable=False),  # SHA-256 of the hash before it and the body, in hexadecimal
    PrimaryKeyConstraint("node", "number"),
)
"""The audit log: a chain of hashes for each server process."""

Index("audit_events_by_at", audit_events.c.at, audit_events.c.node, audit_events.c.number)
Index("audit_events_by_kind", audit_events.c.kind, audit_events.c.at)

audit_chains = Table(
    "audit_chains",
    metadata,
    Column("node", Text, nullable=False),
    Column("first", Integer, nullable=False),  # the first event that retention left
    Column("before", Text, nullable=False),  # the hash before that one
    Column("last", Integer, nullable=False),
    Column("head", Text, nullable=False),  # the hash of the last event
    Column("last_at", Double, nullable=False),
    Column("checkpoints", Integer, nullable=False),  # how many its server process made
    PrimaryKeyConstraint("node"),
)
"""Where each chain begins and ends."""

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("id", Text, nullable=False),
    Column("node", Text, nullable=False),  # that made it
    Column("number", Integer, nullable=False),  # 1, 2, 3 ... in each node
    Column("at", Double, nullable=False),
    Column("body", Text, nullable=False),  # canonical JSON: the heads of all chains
    Column("signature", Text),  # Ed25519 over the body, in base64url; NULL without a key
    Column("key_id", Text),  # of the public key, to find the right one
    PrimaryKeyConstraint("id"),
)
"""Checkpoints of the audit log."""

findings = Table(
    "findings",
    metadata,
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # whom it is about: one finding for each of them, kind and day
    Column("day", Text, nullable=False),  # YYYY-MM-DD, UTC
    Column("caller_kind", Text, nullable=False),
    Column("object_id", Text),
    Column("tenant_id", Text),
    Column("client_id", Text),
    Column("caller_name", Text),
    Column("token_id", Text),
    Column("client_address", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("evidence", Text, nullable=False),  # JSON: what was seen, with ids of runs and requests
    Column("state", Text, nullable=False),  # "new", "acknowledged" or "revoked"
    Column("state_by", Text),  # JSON, as `journal.run.actor` writes it
    Column("state_at", Double),
    Column("alerted_at", Double),  # when its workflow was started
    PrimaryKeyConstraint("subject", "kind", "day"),
)
"""Odd activity of callers."""

Index("findings_by_id", findings.c.id)

known_callers = Table(
    "known_callers",
    metadata,
    Column("subject", Text, nullable=False),  # "tenant/object"; "" for facts of the installation
    Column("fact", Text, nullable=False),  # such as "workflow", "application", "network", "credential"
    Column("value", Text, nullable=False),
    Column("first_at", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("subject", "fact", "value"),
)
"""What is known of callers: which workflows, applications, networks and credentials they used, and when. It is personal
data."""

Index("known_callers_by_last_at", known_callers.c.last_at)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # "caller" (a person or service principal), "client" or "token"
    Column("tenant_id", Text, nullable=False),
    Column("subject", Text, nullable=False),  # an object id, a client id, or a token id (uti)
    Column("name", Text, nullable=False),  # for showing, "" if it is not known
    Column("not_before", Double, nullable=False),  # tokens that were issued before it are refused
    Column("bars_until", Double),  # until then new tokens are refused too
    Column("reason", Text, nullable=False),
    Column("made_by", Text, nullable=False),  # this and `lifted_by`: JSON, as `journal.run.actor` writes it
    Column("made_at", Double, nullable=False),
    Column("lifted_by", Text),
    Column("lifted_at", Double),
    PrimaryKeyConstraint("id"),
)
"""Whose tokens, sessions, links and grants are refused."""

signed_urls = Table(
    "signed_urls",
    metadata,
    Column("workflow", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("key", Text, nullable=False),  # "primary" or "secondary"
    Column("path", Text),  # the only path it is for; NULL for any of the workflow
    Column("fixed", Text, nullable=False),  # JSON: the names of the query parameters that it fixes
    Column("made_by", Text, nullable=False),  # this and `revoked_by`: JSON, as `journal.run.actor` writes it
    Column("made_at", Double, nullable=False),
    Column("expires_at", Double),  # NULL for never
    Column("revoked_by", Text),
    Column("revoked_at", Double),
    Column("uses", BigInteger, nullable=False),
    Column("used_at", Double),
    PrimaryKeyConstraint("workflow", "id"),
)
"""Signed URLs that were made. No row has a signature."""
