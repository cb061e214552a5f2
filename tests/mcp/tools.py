"""Tools of single workflows, for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from postern.access.policy import Open
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.mcp.tools import McpTool, ToolRequest, tools_of
from postern.triggers.find import find
from postern.triggers.read import arguments


def triggers_of(*workflows: Workflow) -> dict[str, Trigger]:
    return {each.name: Trigger(each, Open(), Path("flows.py")) for each in workflows}


def tools(*workflows: Workflow) -> dict[str, McpTool]:
    return tools_of(triggers_of(*workflows))


def tool(workflow: Workflow) -> McpTool:
    [made] = tools(workflow).values()
    return made


def read(made: McpTool, request: ToolRequest) -> Mapping[str, Any]:
    """The arguments of the workflow's function, by the steps *find* and *read* of the trigger."""
    assert request.problem is None, request.problem.members
    assert unquote_to_bytes(request.path)
    path, _, query = request.path.partition(b"?")
    trigger, found = find({made.trigger.workflow.name: made.trigger}, request.method, path)
    kind = b"application/json" if request.body else None
    return arguments(trigger.workflow, request.body, kind, found, query)


def called(workflow: Workflow, **given: Any) -> Mapping[str, Any]:
    """The arguments of the function for a call of its tool."""
    made = tool(workflow)
    return read(made, made.request(given))
