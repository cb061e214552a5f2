"""Rows of grants for tests."""

from typing import Any

from postern.journal.grants import Grant

NOW = 2_000_000_000.0
DAY = 86_400.0


def grant(**values: Any) -> Grant:
    """A grant with these values."""
    given: dict[str, Any] = {
        "connection": "tickets",
        "owner": "tenant/lisa",
        "account": "7",
        "account_name": "lisa",
        "tenant": "",
        "scopes": ("repo",),
        "instance_url": "",
        "sealed": "sealed",
        "key_version": "1",
        "generation": 1,
        "created_by": "tenant/lisa",
        "connected_at": NOW - DAY,
    }
    return Grant(**given | values)
