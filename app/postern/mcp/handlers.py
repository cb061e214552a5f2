"""What the SDK's server answers: the tools of a caller, calls of tools, and tasks. It imports the SDK.

Access is decided twice, by the same function as at `/triggers`: `tools/list` shows a caller what it may call, and each
call passes the pipeline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
    ToolAnnotations,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from postern.access import Caller, Refused
from postern.authoring.tool import GET_RUN
from postern.catalog import Trigger
from postern.errors import Problem
from postern.ids import new_id
from postern.journal.run import State, actor
from postern.mcp.calls import Answered, Call, Calls, TurnAway
from postern.mcp.later import EXTENSION, GET_RUN_TOOL, TASK, WAIT, Runs, RunView, task_of, unended
from postern.mcp.listing import shown_to
from postern.mcp.requests import trigger_scope
from postern.mcp.result import RUN_ID, problem_result, tool_result
from postern.mcp.session import SESSION, Session, via_of
from postern.mcp.tools import McpTool
from postern.triggers.secure_transport import Scope

TTL_MS = 60_000
"""How long a client may keep the list of its tools."""

PROGRESS_EVERY = 10.0
"""Seconds between two notifications of progress."""

ACCEPTED = 202
NOT_WHOLE = (
    "The reply was cut off, or is longer than 4 MiB, so it is not shown. The record of its run says how it ended."
)

Context = ServerRequestContext[Any, Any]
Wait = Callable[["asyncio.Future[Any]", float], Awaitable[object]]


async def wait_for(future: "asyncio.Future[Any]", seconds: float) -> object:
    """Wait until the future is done, so many seconds at most."""
    return await asyncio.wait({future}, timeout=seconds)


@dataclass(frozen=True, slots=True)
class Handlers:
    """`tools` returns the current tools by name. `reach` raises Refused if a trigger does not answer requests of this
    scope, `passes` raises what ends a request of this caller before its arguments are read (see triggers/gate.py), and
    `turn_away` answers rejected requests (see triggers/pipeline.py). `result_url` is the address of a run's result.
    `ttl` are the seconds that records of runs are kept."""

    tools: Callable[[], Mapping[str, McpTool]]
    calls: Calls
    runs: Runs
    turn_away: TurnAway
    reach: Callable[[Trigger, Scope], None] | None
    passes: Callable[[Trigger, Caller, Scope], None]
    result_url: Callable[[str], str]
    ttl: float
    wait: Wait = wait_for
    now: Callable[[], float] = monotonic
    today: Callable[[], float] = time
    _waiting: set["asyncio.Future[Any]"] = field(default_factory=set, repr=False)

    def drain(self) -> None:
        """The server stops: who waits for a durable run gets its id."""
        for each in [*self._waiting]:
            each.cancel()

    async def list_tools(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        """The tools that this caller may call, by name."""
        del params  # there is one page
        session = session_of(ctx)
        shown = self._shown(session, self.tools().values())
        listed = [_listed(tool) for tool in shown]
        if any(tool.trigger.workflow.durable for tool in shown):
            listed.append(Tool.model_validate(dict(GET_RUN_TOOL)))
            listed.sort(key=lambda tool: tool.name)
        return ListToolsResult(tools=listed, ttl_ms=TTL_MS, cache_scope="private")

    async def call_tool(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        """The result of a call. Raises MCPError for a name that is no tool's."""
        return {"resultType": "complete"} | await self._called(ctx, params)

    def _shown(self, session: Session, tools: Iterable[McpTool]) -> list[McpTool]:
        return shown_to(tools, session.caller, session.scope, self.reach)

    async def _called(self, ctx: Context, params: CallToolRequestParams) -> dict[str, Any]:
        session, given, tools = session_of(ctx), params.arguments or {}, self.tools()
        tool = tools.get(params.name)
        if tool is None:
            durable = (each for each in tools.values() if each.trigger.workflow.durable)
            if params.name == GET_RUN and self._shown(session, durable):
                return await self._get_run(ctx, session, given)
            raise MCPError(INVALID_PARAMS, "There is no tool of this name.")
        request = tool.request(given)
        scope = trigger_scope(session.scope, tool, request, _meta(ctx), via_of(_client(ctx)))
        if request.problem is not None:
            return await self._unfit(request.problem, tool, session.caller, scope)
        call = self.calls.begin(scope, request)
        answered = await self._answered(ctx, call, session.caller, tool.trigger.workflow.timeout)
        if answered.status == ACCEPTED and tool.trigger.workflow.durable:
            return await self._of_durable(ctx, session, answered.field(b"x-run-id"))
        return self.result(answered, has_output_schema=tool.output_schema is not None)

    async def _unfit(self, wrong: Problem, tool: McpTool, caller: Caller, scope: Scope) -> dict[str, Any]:
        """The result of a call whose arguments make no request. Who may not call the tool hears only that, and it
        counts as a call."""
        error: Problem | Refused = wrong
        try:
            self.passes(tool.trigger, caller, scope)
        except (Refused, Problem) as earlier:
            error = earlier
        call = Call(new_id(), b"")
        await self.turn_away(error, scope, call.send)
        return self.result(await call.answered, has_output_schema=False)

    async def _answered(self, ctx: Context, call: Call, caller: Caller, total: float) -> Answered:
        """What the trigger replies. If the client leaves, its run ends in the revision where leaving means that."""
        try:
            answered: Answered = await self._with_progress(ctx, call.answered, total)
        except asyncio.CancelledError:
            if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                self.calls.give_up(call, actor(caller))
            raise
        return answered

    async def _with_progress(self, ctx: Context, future: "asyncio.Future[Any]", total: float) -> Any:
        began = self.now()
        known = total if total < float("inf") else None
        await self.wait(future, PROGRESS_EVERY)
        while not future.done():
            await ctx.session.report_progress(round(self.now() - began, 1), known, "The run has not ended.")
            await self.wait(future, PROGRESS_EVERY)
        return future.result()

    async def _of_durable(self, ctx: Context, session: Session, run_id: str) -> dict[str, Any]:
        """A task where the client knows tasks, else the result if there is one soon. The run was accepted: its caller
        gets its id even if nothing can be read of it, because it would call again."""
        as_task, now = knows_tasks(ctx), self.today()
        view = RunView(run_id, State.RUNNING, ended=False, created_at=now, updated_at=now)
        try:
            if not as_task:
                return await self._once_ended(ctx, session, run_id)
            view = await self.runs.view(run_id, session.scope, session.caller)
        except Problem:
            pass
        return {"resultType": TASK, **task_of(view, self.ttl)} if as_task else unended(view)

    async def _once_ended(self, ctx: Context, session: Session, run_id: str) -> dict[str, Any]:
        ended = self.runs.until_ended(run_id, session.scope, session.caller, WAIT)
        waiting = asyncio.get_running_loop().create_task(ended, context=copy_context())
        self._waiting.add(waiting)
        try:
            view: RunView = await self._with_progress(ctx, waiting, WAIT)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            view = await self.runs.view(run_id, session.scope, session.caller)  # the server stops
        finally:
            self._waiting.discard(waiting)
            waiting.cancel()
        return await self.ended(session, view) if view.ended else unended(view)

    async def _get_run(self, ctx: Context, session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
        run_id = given.get("run_id")
        try:
            return await self._once_ended(ctx, session, run_id if isinstance(run_id, str) else "")
        except Problem as shown:
            return problem_result(shown, new_id())

    async def ended(self, session: Session, view: RunView) -> dict[str, Any]:
        """The result of a run that has ended."""
        try:
            answer = await self.runs.result(view.id, session.scope, session.caller)
        except Problem as shown:
            return problem_result(shown, new_id(), view.id)
        return self.result(Answered(answer.status, answer.headers, answer.content), has_output_schema=False)

    def result(self, answer: Answered, *, has_output_schema: bool) -> dict[str, Any]:
        """The reply of a trigger as the result of a call."""
        fields = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
        run_id = fields.get(b"x-run-id")
        if not answer.whole:
            meta = {"_meta": {RUN_ID: run_id}} if run_id else {}
            return {"content": [{"type": "text", "text": NOT_WHOLE}], "isError": True, **meta}
        return tool_result(
            answer.status,
            fields.get(b"content-type", ""),
            answer.content,
            run_id,
            has_output_schema=has_output_schema,
            result_url=self.result_url(run_id) if run_id else "",
        )


def _listed(tool: McpTool) -> Tool:
    return Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema,
        output_schema=None if tool.trigger.workflow.durable else tool.output_schema,
        annotations=ToolAnnotations.model_validate(tool.annotations),
    )


def session_of(ctx: Context) -> Session:
    """The request to `/mcp` that is answered."""
    found: Session = ctx.request.scope[SESSION]  # type: ignore[union-attr] # the endpoint is the only way here
    return found


def _meta(ctx: Context) -> Mapping[str, Any]:
    found = (ctx.params or {}).get("_meta")
    return found if isinstance(found, Mapping) else {}


def _client(ctx: Context) -> Mapping[str, Any] | None:
    params = ctx.session.client_params
    return {"name": params.client_info.name, "version": params.client_info.version} if params is not None else None


def knows_tasks(ctx: Context) -> bool:
    """Whether the client declares the extension for tasks in this request."""
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities is not None else None
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in (extensions or {})
