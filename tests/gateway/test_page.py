"""The page about gateways says what the code does."""

import re
from pathlib import Path

import postern.gateway
from postern.api.gateway_metrics import GatewayFigures, gateway_metrics
from postern.api.metric_families import families
from postern.gateway.agent_link import LAST_CALLS
from postern.gateway.frames import BURST_SECONDS, CONTROL_FRAMES_A_SECOND, FRAME_BYTES, HEAD_BYTES
from postern.gateway.hub import ANSWER_WAIT, MOST_AGENTS, MOST_LINKS
from postern.gateway.link import STREAMS, WINDOW
from postern.gateway.link_io import PING_EVERY, SILENCE
from postern.server.process import LINK_MESSAGE_BYTES
from postern.tunnels import Reason

PAGE = (Path(postern.gateway.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_every_reason_has_a_row():
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.split("## What people see")[1], re.MULTILINE)) >= set(Reason)


def test_every_metric_has_a_row_with_its_labels():
    figures = GatewayFigures(1, 1, {"opened": 1}, 1, 1, {"madrid-1": 0.1})
    made = families("process", gateway_metrics(lambda: {"madrid": figures})())
    names = {family.name + ("_total" if family.type == "counter" else ""): family.samples[0].labels for family in made}
    rows = dict(re.findall(r"^\| `(postern_gateway_[a-z_]+)` \| ([^|]*) \|", PAGE, re.MULTILINE))
    shown = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows.items()}
    assert shown == {name: labels.keys() - {"process"} for name, labels in names.items()}


def test_the_limits_are_those_of_the_code():
    rows = PAGE.split("## Links")[1]
    for limit in (
        f"| {MOST_AGENTS}, {MOST_LINKS}:",
        f"| {STREAMS}, of which",
        f"| {WINDOW // 1024} KiB. A slow",
        f"| {FRAME_BYTES // 1024} KiB, {HEAD_BYTES // 1024} KiB, {LINK_MESSAGE_BYTES // 2**20} MiB |",
        f"| {CONTROL_FRAMES_A_SECOND} a second, as an average of {BURST_SECONDS} seconds |",
        f"| a ping every {PING_EVERY:.0f} s; a link that was silent for {SILENCE:.0f} s ends |",
        f"does not answer for {ANSWER_WAIT:.0f} s",
    ):
        assert limit in rows
    assert LAST_CALLS == 600
