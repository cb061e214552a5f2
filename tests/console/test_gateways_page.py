"""The page of gateways, and what the home page says of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from postern.console.gateways import of_gateways
from postern.console.needs import headline
from postern.gateway.state import AgentState, GatewayState
from postern.local_tenant import LocalTenant
from tests.console.operator_pages import Pages, open_pages

pytestmark = pytest.mark.slow

ONE = AgentState("madrid-1", "an-id", "0.2.0", 1_800_000_000.0, ("a",), ("a", "b"), 1)
TWO = replace(ONE, name="madrid-2", nodes=("a", "b"), tunnels=2)
READY = GatewayState("madrid", (ONE, TWO))
SINGLE = GatewayState("oslo", (ONE,))
EMPTY = GatewayState("rome", last="rome-1 was connected until 14:02:11 (silent)", error="<b>no role</b>")
TABLES = """
[gateways.madrid]
agents = ["lisa"]
[connections.erp]
base_url = "https://erp.madrid.corp"
gateway = "madrid"
auth = { type = "none" }
"""


def test_a_gateway_without_two_agents_needs_a_person():
    found = of_gateways([READY, SINGLE, EMPTY])
    assert [(need.what, need.urgent, need.path) for need in found] == [
        ("The gateway rome has no agent", True, "/gateways"),
        ("The gateway oslo has one agent only", False, "/gateways"),
    ]
    assert "rome-1 was connected until 14:02:11 (silent)." in found[0].more
    assert headline(found) == "2 things need you"
    assert of_gateways([READY]) == []


def test_an_agent_that_stops_counts_no_more():
    [need] = of_gateways([GatewayState("madrid", (ONE, replace(TWO, draining=True)))])
    assert need.what == "The gateway madrid has one agent only"
    assert "madrid-1" in need.more
    [need] = of_gateways([GatewayState("madrid", (replace(TWO, draining=True),))])
    assert need.what == "The gateway madrid has no agent"


@pytest.fixture
async def pages(tmp_path: Path, local_tenant: LocalTenant) -> AsyncIterator[Pages]:
    (tmp_path / "postern.toml").write_text(TABLES)
    async with open_pages(tmp_path, local_tenant) as opened:
        yield opened


@pytest.mark.anyio
async def test_the_page_shows_agents_versions_server_processes_and_errors(pages: Pages):
    pages.change(gateways=lambda: [READY, SINGLE, EMPTY])
    page = (await pages.get("/console/gateways")).text
    assert page.index("<b>rome</b>") < page.index("<b>oslo</b>") < page.index("<b>madrid</b>")
    for part in ("no agent", "one agent", "ready", "0.2.0", "reaches 1 of 2 server processes", "connections.erp"):
        assert part in page
    assert "rome-1 was connected until 14:02:11 (silent)" in page
    assert "&lt;b&gt;no role" in page
    assert "<b>no role" not in page


@pytest.mark.anyio
async def test_the_connections_lead_to_their_gateways(pages: Pages):
    assert "has no <code>[gateways.NAME]</code>" in (await pages.get("/console/gateways")).text
    page = (await pages.get("/console/connections")).text
    assert 'href="/console/gateways"' in page
    assert "by the gateway madrid" in page
