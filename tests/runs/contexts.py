"""A Context as the runner makes it, for what needs no runner."""

from typing import Any

import structlog

from postern.access import ANYONE
from postern.authoring.context import Context, Services
from postern.authoring.request import Request
from postern.trace import Trace


async def _secret(name: str) -> str:
    return f"value of {name}"


def _connection(ctx: Context, name: str) -> Any:
    raise LookupError(name)


def context(step: Any = None, *, trace: Trace | None = None, recorded: bool = True) -> Context:
    """The Context of a run `run-1` whose steps are handed to `step`."""
    services = Services(_secret, _connection, structlog.get_logger("test"), *([step] if step else []))
    request = Request("POST", "/triggers/x", trace=trace)
    return Context(request, ANYONE, "run-1", "x", services, recorded)
