"""`make bench --cost` says for each step of a request what it costs."""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench.in_process import STEPS, step_of


def frames(*modules: str) -> Any:
    """Frames of functions of these modules, the outermost first."""
    frame = None
    for module in modules:
        frame = SimpleNamespace(f_globals={"__name__": module}, f_back=frame)
    return frame


@pytest.mark.parametrize(
    ("modules", "step"),
    [
        (("postern.triggers.pipeline",), "between"),
        (("postern.triggers.pipeline", "postern.triggers.find"), "find"),
        (("postern.triggers.pipeline", "postern.identity.tokens", "json.decoder"), "identify"),
        (("postern.triggers.pipeline", "postern.access.decision"), "admit"),
        (("postern.triggers.pipeline", "postern.assembly.limits", "postern.security.limits.limiter"), "gate"),
        (("postern.triggers.pipeline", "postern.triggers.argument_reader"), "read"),
        (("postern.triggers.pipeline", "postern.runs.runner"), "start"),
        (("postern.triggers.pipeline", "postern.runs.runner", "postern.journal.journal"), "record"),
        (("postern.triggers.pipeline", "postern.triggers.reply"), "reply"),
        (("asyncio.runners",), "wire"),
        ((), "wire"),
    ],
)
def test_a_sample_belongs_to_the_innermost_step_whose_code_runs(modules: tuple[str, ...], step: str):
    assert step_of(frames(*modules)) == step


def test_the_modules_of_all_steps_exist():
    named = {name for _, modules in STEPS for name in modules} - {"workflows"}
    assert [name for name in sorted(named) if name not in sys.modules and importlib.util.find_spec(name) is None] == []
