"""The test of an entry by a gateway names each stage of the way."""

from pathlib import Path

import pytest

from postern.connections.entry_trial import stages_of
from postern.connections.stage import Stage
from postern.settings import load_settings
from postern.tunnels import Reason
from tests.connections.counterparts import always
from tests.connections.test_by_gateway import AGENTS, NONE, Site, site
from tests.gateway.contract import AGENT, GATEWAY, HOST
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def stages_at(there: Site, folder: Path, *, trigger: bool = False, **more: object) -> list[Stage]:
    given = {"gateway": GATEWAY, "ca_bundle": "ca.pem", "auth": NONE} | more
    entry = {key: value for key, value in given.items() if value is not None}
    of = {"url": f"https://{HOST}/book?sig=planted"} if trigger else {"base_url": f"https://{HOST}/api"}
    table = "triggers" if trigger else "connections"
    settings = load_settings({}, folder=folder, defaults={"gateways": AGENTS, table: {"erp": of | entry}})
    return [stage async for stage in stages_of(f"{table}.erp", settings, open_tunnel=there.gateway.open)]


async def test_every_stage_is_named(tmp_path: Path):
    async with site(tmp_path, always(404)) as there:
        stages = await stages_at(there, tmp_path)
        assert [(stage.name, stage.passed) for stage in stages] == [
            (name, True) for name in ("entry", "gateway", "tunnel", "tls", "reached")
        ]
        details = {stage.name: stage.detail for stage in stages}
        assert details["gateway"] == f"{GATEWAY}, by agent {AGENT}"
        assert details["tunnel"] == f"{HOST}:443"
        assert details["tls"].startswith(f"{HOST}:443 by TLSv1.")
        assert details["reached"] == f"GET https://{HOST}/api answered 404"
        assert all(tunnel.ended for tunnel in there.gateway.tunnels), "nothing stays open"


async def test_a_trigger_gets_no_request(tmp_path: Path):
    async with site(tmp_path, always()) as there:
        stages = await stages_at(there, tmp_path, trigger=True)
        assert [stage.name for stage in stages] == ["entry", "gateway", "tunnel", "tls", "reached"]
        assert stages[-1].detail == f"{HOST}; no request was sent, because it would run the trigger"
        assert there.system.received == []
        assert "planted" not in str(stages)


async def test_with_tls_at_the_agent_only_the_answer_shows_whether_the_other_side_is_there(tmp_path: Path):
    async with site(tmp_path, always(), plain=True) as there:
        stages = await stages_at(there, tmp_path, tls="gateway", ca_bundle=None)
        assert [(stage.name, stage.passed) for stage in stages][-2:] == [("tls", True), ("reached", True)]
        assert "the agent" in stages[-2].detail


@table(
    ("reason", "failed", "part"),
    [
        (Reason.NO_AGENT, "gateway", "postern gateway run"),
        (Reason.TARGET_NOT_ALLOWED, "tunnel", "[[allow]]"),
        (Reason.NAME_NOT_FOUND, "tunnel", "DNS"),
        (Reason.TARGET_REFUSED, "tunnel", "listens"),
        (Reason.ADDRESS_DENIED, "tunnel", "resolves"),
    ],
)
async def test_the_stage_that_fails_is_the_last_and_has_the_fix(reason: Reason, failed: str, part: str, tmp_path: Path):
    async with site(tmp_path, always()) as there:
        there.gateway.refusing = [reason]
        stages = await stages_at(there, tmp_path)
        assert (stages[-1].name, stages[-1].passed) == (failed, False)
        assert part in stages[-1].fix
        assert all(stage.passed for stage in stages[:-1])


async def test_a_certificate_that_is_not_trusted_fails_the_stage_of_tls(tmp_path: Path):
    async with site(tmp_path, always()) as there:
        stages = await stages_at(there, tmp_path, ca_bundle=None)
        assert (stages[-1].name, stages[-1].passed) == ("tls", False)
        assert "ca_bundle" in stages[-1].fix
        assert there.system.received == []


async def test_a_process_without_gateways_says_that_it_is_none(tmp_path: Path):
    async with site(tmp_path, always()):
        settings = load_settings(
            {},
            folder=tmp_path,
            defaults={
                "gateways": AGENTS,
                "connections": {"erp": {"base_url": f"https://{HOST}", "gateway": GATEWAY, "auth": NONE}},
            },
        )
        stages = [stage async for stage in stages_of("connections.erp", settings)]
        assert (stages[-1].name, stages[-1].passed) == ("gateway", False)
        assert "this process is not one" in stages[-1].detail
