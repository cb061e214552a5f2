"""The page about gateways says what the code does."""

import re
from pathlib import Path

import postern.gateway
from postern.tunnels import Reason

PAGE = (Path(postern.gateway.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_every_reason_has_a_row():
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.split("## What people see")[1], re.MULTILINE)) >= set(Reason)
