"""What an author writes about runs that the server itself starts: by the clock, and after a failure."""

import re
from collections.abc import Callable
from typing import Any

from postern.authoring.schedule import Schedule
from postern.authoring.signature import WorkflowFault, without_default

WORKFLOW_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def by_server(
    function: Callable[..., Any], when: Schedule | None, own_name: str, on_failure: str | None, *, stateless: bool
) -> dict[str, Any]:
    """When the server itself starts the workflow, and which one it starts after a failure. Raises WorkflowFault."""
    if when is not None:
        required = without_default(function)
        if required:
            raise WorkflowFault(
                f"schedule=: {function.__name__}() needs {required!r}, and a run by the clock has no request that "
                f"gives it: write a default, like `{required}: ... = None`"
            )
    return {"schedule": when, "on_failure": _on_failure(on_failure, own_name, stateless=stateless)}


def _on_failure(on_failure: str | None, own_name: str, *, stateless: bool) -> str:
    if on_failure is None:
        return ""
    if not isinstance(on_failure, str) or not WORKFLOW_NAME.fullmatch(on_failure):
        raise WorkflowFault(f"on_failure={on_failure!r} is not the name of a workflow: write it as in its URL")
    if on_failure == own_name:
        raise WorkflowFault(f"on_failure={on_failure!r} names the workflow itself: name another one")
    if stateless:
        raise WorkflowFault(
            "on_failure= and stateless=True exclude each other: the failure of such a run is not recorded"
        )
    return on_failure


def unfit_to_be_started(methods: tuple[str, ...], path: str, *, stateless: bool) -> str:
    """Why the server cannot start this workflow with a body, as a sentence without its full stop; "" if it can."""
    if "POST" not in methods:
        return "the workflow takes no POST. Add POST to its methods"
    if stateless:
        return "runs that the server starts are recorded. Drop stateless=True"
    if "{" in path:
        return "its path has parameters, which a run of the server does not have"
    return ""
