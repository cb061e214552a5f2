"""Whose share of the executor's threads a call takes."""

from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest

from postern.access import Caller
from postern.assembly.runs import _holder_of
from postern.runs.executor import LEFT_BEHIND
from postern.trace import RUN

RUNS: dict[str, Any] = {
    "of ada": SimpleNamespace(
        workflow=SimpleNamespace(name="hello"),
        caller=Caller("user", "ada", "tenant"),
        request=SimpleNamespace(client_address="192.0.2.1"),
    )
}


@pytest.mark.parametrize(
    ("run_id", "who"),
    [(None, None), ("of ada", ("hello", "ada")), ("ended", LEFT_BEHIND)],
    ids=["the server itself", "a run", "a task that its run has left behind"],
)
def test_code_of_authors_has_a_share_also_when_its_run_has_ended(run_id: str | None, who: Any):
    """The threads of the server itself have no bound: tasks left behind would take all of them, one request each."""

    def in_context() -> Any:
        RUN.set((run_id, None) if run_id is not None else None)
        return _holder_of(RUNS.get)

    assert copy_context().run(in_context) == who
