"""A Context as the runner makes it, for what needs no runner."""

from typing import Any

import structlog

from app.access import ANYONE
from app.trace import Trace
from app.workflow import Context, Request, Services


async def _secret(name: str) -> str:
    return f"value of {name}"


def _connection(name: str) -> Any:
    raise LookupError(name)


def context(step: Any = None, *, trace: Trace | None = None, recorded: bool = True) -> Context:
    """The Context of a run `run-1` whose steps are handed to `step`."""
    services = Services(_secret, _connection, structlog.get_logger("test"), *([step] if step else []))
    request = Request("POST", "/triggers/x", trace=trace)
    return Context(request, ANYONE, "run-1", "x", services, recorded)
