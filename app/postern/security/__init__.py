"""Operating: the audit log, findings, revocation, signed URLs, signatures of senders, rates, and the access review."""
