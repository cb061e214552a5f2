"""Listings of the kit's page (`app/postern/testing/README.md`) that are no test of one example."""

from postern.testing import call, connections, user


def test_whoami():
    assert call("whoami", as_=user("lisa")).json()["name"] == "Lisa Moreau"
    assert call("payroll", as_=user("ada")).refused == "listed"


def test_nothing_is_stubbed_here():
    assert connections["graph"].calls == []
