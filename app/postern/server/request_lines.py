"""One line in the log for each request, for authors: `postern dev` only. A server's own log has no such lines, because
they would cost more than the request."""

import re
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

from structlog.typing import FilteringBoundLogger

from postern.catalog import Fault, Trigger
from postern.journal.secured import url_shown
from postern.near_names import near
from postern.redaction import redacted_query, without_secret_values
from postern.triggers.exchange import EXCHANGE, Exchange
from postern.triggers.find import PREFIX

UNAUTHORIZED, NOT_FOUND = 401, 404
RUN_ID = b"x-run-id"
CALLBACK = re.compile(rb"/console/callback|/connect/[^/]*/callback")
"""Their queries have codes that a provider exchanges for a person's token."""
LINK = re.compile(rb"(/connect/[^/]*/invitation/).*", re.DOTALL)
"""Its path has the secret of a link."""


class _Seen:
    """An exchange whose answers are sent as ASGI messages, so that their status is seen."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.digest = exchange.digest
        self.whole_body = exchange.whole_body
        self.unframed = exchange.unframed
        self.cut_off = exchange.cut_off

    @property
    def fields(self) -> Mapping[bytes, bytes] | None:
        return self._exchange.fields

    def answer_at_once(self, status: int, lines: bytes, content: bytes) -> bool:
        return False


class RequestLines:
    """An ASGI application that serves another one, and logs each request with its method, URL, status, time and run. Of
    a request to a secured workflow the URL is that of its trigger."""

    def __init__(
        self,
        app: Any,
        log: FilteringBoundLogger,
        triggers: Callable[[], Mapping[str, Trigger]] = dict,
        faults: Callable[[], Iterable[Fault]] = tuple,
    ) -> None:
        self._app = app
        self._triggers = triggers
        self._faults = faults
        self._log = log

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (exchange := scope.pop(EXCHANGE, None)) is not None:
            scope[EXCHANGE] = _Seen(exchange)
        line: dict[str, Any] = {"method": scope["method"], "url": self._url(scope), "status": None}

        async def seen(message: Any) -> None:
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
                if run_id := dict(message.get("headers", ())).get(RUN_ID):
                    line["run_id"] = run_id.decode("latin-1")
            await send(message)

        began = perf_counter()
        try:
            await self._app(scope, receive, seen)
        finally:
            if line["status"] in (UNAUTHORIZED, NOT_FOUND):
                line |= self._advice(scope["raw_path"], line["status"])
            self._log.info("request", **line, duration_ms=round((perf_counter() - began) * 1000, 1))

    def _url(self, scope: dict[str, Any]) -> str:
        raw_path: bytes = scope["raw_path"]
        path = without_secret_values(LINK.sub(rb"\1...", raw_path).decode("latin-1"))
        query = "" if CALLBACK.search(raw_path) else redacted_query(scope["query_string"])
        url = f"{path}?{query}" if query else path
        trigger = self._trigger(raw_path)
        return url if trigger is None else url_shown(trigger.workflow, url)

    def _trigger(self, raw_path: bytes) -> Trigger | None:
        return self._triggers().get(_name(raw_path)) if raw_path.startswith(PREFIX) else None

    def _advice(self, raw_path: bytes, status: int) -> dict[str, Any]:
        """For an author who wonders about a 401: the access mode, the line that has it or lacks it, and what to do. For
        a 404 of a trigger: the workflow that was meant, or the files that have none because of a fault."""
        trigger = self._trigger(raw_path)
        if trigger is None and raw_path.startswith(PREFIX):
            return {"fix": _of_unknown(_name(raw_path), self._triggers(), self._faults())}
        if trigger is None or status != UNAUTHORIZED:
            return {}
        workflow = trigger.workflow
        return {
            "access": trigger.policy.mode,
            "at": f"{trigger.file}:{workflow.line}",
            "fix": f"send a token, as `postern call {workflow.name} --as lisa` does; `postern explain` shows what is "
            "wrong with one. If anyone may call it, write access=anonymous()",
        }


def _name(raw_path: bytes) -> str:
    return raw_path.removeprefix(PREFIX).partition(b"/")[0].decode("ascii", "replace")


def _of_unknown(name: str, triggers: Iterable[str], faults: Iterable[Fault]) -> str:
    faulty = [f"{fault.file}:{fault.line}" if fault.line else str(fault.file) for fault in faults]
    if faulty:
        files = ", ".join(faulty[:5])
        return f"workflow-fault in this log, or `postern check`, says why these files have no workflow: {files}"
    if meant := near(name, triggers):
        return f"call /triggers/{meant}, or rename the function"
    return "write a function with @workflow, whose name is the trigger's with _ in place of -"
