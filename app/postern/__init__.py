"""Postern: workflows behind trigger URLs. This module holds the authors' API and nothing else.

Each name is loaded when it is first used. The commands, which begin with this module too, then start fast, and
`python -m postern` imports nothing while Python still looks for modules in the working directory.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from postern.access import Caller, anonymous, github, hmac_header, slack, specific_users, stripe, tenant_users
    from postern.authoring.call_result import CallError, Handle
    from postern.authoring.consent import ConsentRequired
    from postern.authoring.context import Context
    from postern.authoring.inputs import Form, Header, Query, UploadFile
    from postern.authoring.reply import Reply
    from postern.authoring.request import Request
    from postern.authoring.retry_policy import Retry
    from postern.authoring.streams import Event
    from postern.authoring.tool import Tool
    from postern.authoring.waits import Decision, Signal, StepError
    from postern.authoring.workflow import Workflow, workflow
    from postern.errors import Problem

__all__ = [
    "CallError",
    "Caller",
    "ConsentRequired",
    "Context",
    "Decision",
    "Event",
    "Form",
    "Handle",
    "Header",
    "Problem",
    "Query",
    "Reply",
    "Request",
    "Retry",
    "Signal",
    "StepError",
    "Tool",
    "UploadFile",
    "Workflow",
    "anonymous",
    "github",
    "hmac_header",
    "slack",
    "specific_users",
    "stripe",
    "tenant_users",
    "workflow",
]

_MODULES = {
    "postern.access": (
        "Caller",
        "anonymous",
        "github",
        "hmac_header",
        "slack",
        "specific_users",
        "stripe",
        "tenant_users",
    ),
    "postern.authoring.call_result": ("CallError", "Handle"),
    "postern.authoring.consent": ("ConsentRequired",),
    "postern.authoring.context": ("Context",),
    "postern.authoring.inputs": ("Form", "Header", "Query", "UploadFile"),
    "postern.authoring.reply": ("Reply",),
    "postern.authoring.request": ("Request",),
    "postern.authoring.retry_policy": ("Retry",),
    "postern.authoring.streams": ("Event",),
    "postern.authoring.tool": ("Tool",),
    "postern.authoring.waits": ("Decision", "Signal", "StepError"),
    "postern.authoring.workflow": ("Workflow", "workflow"),
    "postern.errors": ("Problem",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'postern' has no attribute {name!r}")
    found: object = getattr(__import__(_MODULE_OF[name], fromlist=[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
