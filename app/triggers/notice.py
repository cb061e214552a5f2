"""What the operator hears of a request that was refused at the wire, before the application saw it."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from app.access import Check
from app.errors import PROBLEMS
from app.runs.windows import Refusal

log = structlog.get_logger("postern.http")


def notice(state: Mapping[str, Any], request_id: str, code: str, reason: str, client: tuple[str, int] | None) -> None:
    """Tell the log, and the application if it wants to know: `refused` in the lifespan's state takes the refusal, and
    says whether it is to be in the log. Which trigger was meant cannot be said, so no part of the URL is kept."""
    address, port = client or ("", 0)
    refused: Callable[[Refusal], bool] | None = state.get("refused")
    checks = (Check(code, False, None, reason),)
    if refused is None or refused(Refusal(request_id, code, code, PROBLEMS[code].status, "", address, checks)):
        shown = f"{address}:{port}" if client else ""
        log.warning("request-refused", code=code, reason=reason, client=shown, request_id=request_id)
