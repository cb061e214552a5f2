"""What `secure_inputs` and `secure_outputs` keep out of records, logs and stored replies: the only place that decides.
Pure.

With `secure_inputs` nothing of the request is kept but who sent it, from where and when, and its trace: no body, path,
query, header or content type. With `secure_outputs` nothing of the reply is kept but its status. With either of them,
texts that a run makes may repeat a part of both: an exception's message, a Problem, and names that are made while it
runs.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from postern.authoring.plain import plain_text, type_name
from postern.errors import PROBLEMS
from postern.journal.run import Outcome, State

if TYPE_CHECKING:  # the writer's process loads no workflow
    from postern.authoring.workflow import Workflow

_NAME, _MODULE, _QUALIFIED, _BASES = (
    vars(type)[name] for name in ("__name__", "__module__", "__qualname__", "__mro__")
)
"""What a class says of itself, whatever its metaclass says."""

SECURED_NAME = "(secured)"
"""What is recorded in place of a name that an author's code made."""


def keeps_request(workflow: "Workflow") -> bool:
    """Whether the parts of the request are recorded."""
    return not workflow.secure_inputs


def keeps_reply(workflow: "Workflow", outcome: Outcome) -> bool:
    """Whether the headers and the body of the reply are recorded, and kept for an idempotency key. The document of an
    author's Problem may repeat the request."""
    if workflow.secure_outputs:
        return False
    return not (workflow.secure_inputs and outcome.shown and outcome.state is State.FAILED)


def url_shown(workflow: "Workflow", url: str) -> str:
    """The path of a request, with its query if it has one, as a log shows it: a secured run's is the trigger's."""
    return url if keeps_request(workflow) else f"/triggers/{workflow.name}"


def kept_error(workflow: "Workflow", outcome: Outcome) -> tuple[str, str]:
    """The type and the message of the error as they are recorded. A secured run's are Postern's own texts: the type of
    an exception, the code of the table of problems, and no message that an author wrote."""
    kind, message = outcome.error_type, outcome.error_message
    if not workflow.secures or outcome.state is not State.FAILED:
        return kind, message
    if outcome.shown and kind not in PROBLEMS:
        kind = "Problem"
    return kind, ""


def kept_type(error: BaseException, *, secured: bool) -> str:
    """The name of an error's type. A secured run's is that of a class which a module has under this name: a class that
    is made while the run runs may have any name."""
    if not secured:
        return type_name(error)
    return next(str(_NAME.__get__(each)) for each in _BASES.__get__(type(error)) if _is_importable(each))


def _is_importable(kind: type) -> bool:
    found: Any = sys.modules.get(str(_MODULE.__get__(kind)))
    for part in str(_QUALIFIED.__get__(kind)).split("."):
        found = getattr(found, part, None)
    return found is kind


def kept_step(name: str, function: Callable[..., Any], *, secured: bool) -> str:
    """The name of a step: the one that its author gives, else the function's. A secured run's is the name in the
    function's own code."""
    while isinstance(function, partial):
        function = function.func
    if not secured:
        return plain_text(str(name or getattr(function, "__name__", "") or type_name(function)))
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return str(code.co_name) if code is not None else SECURED_NAME
