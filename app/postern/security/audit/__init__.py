"""The audit log: what happened, in a chain of hashes."""
