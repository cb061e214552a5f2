"""A workflow as a tool for agents, at /mcp: what its author says of it, and under which names it is there. Pure."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from postern.access import Access, Anonymous
from postern.authoring.advice import shown
from postern.authoring.request import BESIDES
from postern.authoring.signature import WorkflowFault

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""What clients accept as a tool's name beside the name of its server, which they put in front of it."""

GET_RUN = "get-run"
"""The tool that reads the result of a durable run. No workflow can have this name as a tool."""

MANY_TOOLS = 40
"""Models choose badly among more, and clients stop at 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What an agent is told of a tool besides its docstring and its schemas: `title` for people, and hints (Model
    Context Protocol, ToolAnnotations). A hint that is None follows the method: GET is read-only and idempotent, other
    methods are destructive, and PUT and DELETE are idempotent too (RFC 9110, section 9.2)."""

    title: str | None = None
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None


def tool_of(
    given: bool | Tool,
    function: Callable[..., Any],
    name: str,
    methods: Iterable[str],
    access: Access | None,
    signature: Mapping[str, Any],
) -> Tool | None:
    """What `tool=` says; None if the workflow is no tool. `signature` has the parameters of its function. Raises
    WorkflowFault if agents could not use it."""
    if given is False:
        return None
    tool = Tool() if given is True else given
    if not isinstance(tool, Tool):
        raise WorkflowFault(
            f"tool={shown(given)}: write tool=True, or tool=Tool(title=...) with `from postern import Tool`"
        )
    _check_hints(tool)
    _check_names(name, methods)
    if not any(map(str.isalnum, inspect.getdoc(function) or "")):
        raise WorkflowFault(
            f"tool=: {function.__name__}() has no docstring, by which an agent chooses a tool: say in it what the "
            "workflow does"
        )
    if isinstance(access, Anonymous) and (access.signed or access.signed_by is not None):
        raise WorkflowFault(
            "tool=: an agent sends no signed URL and no signature of a sender: leave tool= out, or choose another "
            "access mode"
        )
    _check_arguments(function.__name__, signature)
    return tool


def tool_names(name: str, methods: Iterable[str]) -> dict[str, str]:
    """The method of each tool of a workflow, by the tool's name: the workflow's name, with the method in front if it
    has several (`get-report`). HEAD and OPTIONS are no tools."""
    used = [each for each in methods if each not in BESIDES]
    return {name: used[0]} if len(used) == 1 else {f"{method.lower()}-{name}": method for method in used}


def _check_hints(tool: Tool) -> None:
    for hint in ("read_only", "destructive", "idempotent"):
        if not isinstance(getattr(tool, hint), bool | None):
            raise WorkflowFault(f"Tool({hint}={shown(getattr(tool, hint))}): write True or False, or leave it out")
    if tool.title is not None and not (isinstance(tool.title, str) and tool.title.strip()):
        raise WorkflowFault(f"Tool(title={shown(tool.title)}): write a text, or leave it out")
    if tool.read_only and tool.destructive:
        raise WorkflowFault("Tool(read_only=True, destructive=True): what only reads destroys nothing. Leave one out")


def _check_names(name: str, methods: Iterable[str]) -> None:
    names = tool_names(name, methods)
    if not names:
        raise WorkflowFault("tool=: a tool is called by another method than HEAD and OPTIONS: add one to methods=")
    for each in names:
        if not TOOL_NAME.fullmatch(each):
            raise WorkflowFault(
                f"tool=: {each!r} is no name of a tool, which has at most 48 letters, digits, hyphens and "
                'underscores. Rename the function, or set name="..."'
            )
        if each == GET_RUN:
            raise WorkflowFault(
                f"tool=: the name {GET_RUN} is Postern's own tool for results of durable runs. Rename the function, or "
                'set name="..."'
            )


def _check_arguments(function: str, signature: Mapping[str, Any]) -> None:
    """Check that JSON arguments are all that the function needs."""
    if signature["form"] is not None:
        raise WorkflowFault(
            f"tool=: {function}() takes a form, and arguments of tools are JSON: leave Form() out, or leave tool= out"
        )
    for each in signature["parameters"]:
        if each.place == "header" and each.required:
            raise WorkflowFault(
                f"tool=: {function}() needs the header {each.sent}, and an agent sends arguments only: give "
                f"{each.name!r} a default, or make it a part of the body"
            )
