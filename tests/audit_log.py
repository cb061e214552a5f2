"""Whether the audit log in a database verifies."""

from postern.journal.database.engine import open_engine
from postern.journal.reading.audit_lines import audit_lines
from postern.security.audit.verifier import Report, Verifier


def audit_report(url: str) -> Report:
    """What the verifier says of it, without a public key."""
    engine, verifier = open_engine(url, writing=False), Verifier()
    try:
        with engine.begin() as connection:
            for line in audit_lines(connection, columns=True):
                verifier.take(line)
    finally:
        engine.dispose()
    return verifier.finish()


def assert_audited(url: str, chains: int) -> None:
    """The log verifies, and at least so many server processes have a chain in it."""
    report = audit_report(url)
    assert report.problems == []
    assert report.counts["chain"] >= chains
