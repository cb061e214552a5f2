"""Without the extra `durable`, all runs are inline."""

from types import SimpleNamespace
from typing import Any

import pytest

from postern.assembly import durable


def test_without_the_extra_a_preference_not_to_wait_is_ignored(monkeypatch: pytest.MonkeyPatch):
    runs: Any = SimpleNamespace(runner=SimpleNamespace(start=lambda *_, **__: None))
    monkeypatch.setattr(durable, "durable_is_installed", lambda: False)
    base: Any = None
    assert durable.durable_part(base, runs).start is runs.runner.start
