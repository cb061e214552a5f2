"""The entries of the navigation."""

from typing import NamedTuple


class Entry(NamedTuple):
    """An entry: `key` names it, and its `letter` is pressed after `g`. `path` is below `/console`. Only operators see
    those of `operators_only`."""

    key: str
    letter: str
    word: str
    path: str
    operators_only: bool = False


NAVIGATION = (
    Entry("home", "h", "Home", ""),
    Entry("runs", "r", "Runs", "/runs"),
    Entry("approvals", "o", "Approvals", "/approvals"),
    Entry("refusals", "f", "Refusals", "/refusals", operators_only=True),
    Entry("findings", "i", "Findings", "/findings", operators_only=True),
    Entry("workflows", "w", "Workflows", "/workflows", operators_only=True),
    Entry("access", "p", "Access", "/access", operators_only=True),
    Entry("connections", "c", "Connections", "/connections"),
    Entry("signed-urls", "l", "Links", "/signed-urls", operators_only=True),
    Entry("secrets", "s", "Secrets", "/secrets", operators_only=True),
    Entry("revocations", "x", "Revocations", "/revocations", operators_only=True),
    Entry("explain", "e", "Explain", "/explain", operators_only=True),
    Entry("audit", "a", "Audit", "/audit", operators_only=True),
)
