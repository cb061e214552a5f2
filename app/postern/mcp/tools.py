"""Workflows as tools: their names, schemas and hints, and the request to a trigger that a call of one is. Pure.

Source: Model Context Protocol, revision 2026-07-28, "Tools".
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from postern.authoring.signature import RequestParameter
from postern.authoring.tool import Tool
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.catalog.snapshot import tool_methods
from postern.errors import Problem, problem
from postern.mcp.plain_schema import plain, without_null
from postern.openapi.operations import description_of, operations
from postern.openapi.schemas import BODY, COMPONENT, RESULT, Schemas, schemas_of
from postern.plain_text import plain as plain_text
from postern.redaction import without_tokens
from postern.triggers.find import MAX_TARGET_BYTES

Json = dict[str, Any]
Mistake = dict[str, str]

BODY_ARGUMENT = "body"
"""The argument that has the body where its members cannot be arguments themselves."""

_IN_BRACES = re.compile(r"\{([^{}]+)\}")
_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Names of arguments that all clients accept."""
_OF_AN_OBJECT = frozenset({"type", "title", "description", "properties", "required"})
"""Keywords of an object that hold for its members beside others too."""
_COMPOSED = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "enum", "const"})
_SAFE = frozenset({"GET"})
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
_NO_TEXT = "Input should be a string, a number or a boolean"


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """The request to a trigger that a call of a tool is. `path` is the raw path, `/triggers/...`, with its query if
    there is one. `body` is JSON, or b"". `problem` says that the arguments make no request: nothing is to be sent."""

    method: str
    path: bytes
    body: bytes
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class McpTool:
    """One method of a trigger as a tool. `output_schema` is None if results are not validated. `annotations` are
    ToolAnnotations. `members` is True if the members of the body are arguments themselves, and `body` is the argument
    that has it otherwise, "" for none."""

    name: str
    trigger: Trigger
    method: str
    title: str | None
    description: str
    input_schema: Json
    output_schema: Json | None
    annotations: Json
    members: bool
    body: str

    def request(self, arguments: Mapping[str, Any]) -> ToolRequest:
        """The request that a call with these arguments is."""
        workflow = self.trigger.workflow
        path, mistakes = _path(workflow, arguments)
        if mistakes:
            return self._unfit(problem("invalid-path", errors=mistakes))
        query, mistakes = _query(workflow, arguments)
        if mistakes:
            return self._unfit(problem("invalid-query", errors=mistakes))
        if len(path) + len(query) > MAX_TARGET_BYTES:
            return self._unfit(problem("uri-too-long"))
        taken = _names_of(workflow)
        rest = {name: value for name, value in arguments.items() if name not in taken}
        if self.members:
            needed = workflow.body is not None and workflow.body.required
            return ToolRequest(self.method, path + query, _json(rest) if rest or needed else b"")
        if mistakes := [*self._unknown(rest)]:
            return self._unfit(problem("invalid-body", errors=mistakes))
        return ToolRequest(self.method, path + query, _json(rest[self.body]) if self.body in rest else b"")

    def _unknown(self, rest: Mapping[str, Any]) -> Iterator[Mistake]:
        """What is wrong with the arguments that are neither of the path nor of the query."""
        for name in rest:
            if name != self.body or not self.body:
                yield _mistake((name,), "the tool has no such argument")
        body = self.trigger.workflow.body
        if self.body and body is not None and body.required and self.body not in rest:
            yield _mistake((self.body,), "Field required")

    def _unfit(self, why: Problem) -> ToolRequest:
        return ToolRequest(self.method, b"", b"", why)


def tools_of(triggers: Mapping[str, Trigger]) -> dict[str, McpTool]:
    """The tools of these triggers by name, in order of name."""
    tools = {name: each for name, each in triggers.items() if each.workflow.tool is not None}
    schemas = schemas_of(operations(tools))
    known = {COMPONENT + name: schema for name, schema in schemas.components.items()}
    found = [
        _tool(name, method, trigger, trigger.workflow.tool, schemas, known)
        for trigger in tools.values()
        for name, method in tool_methods(trigger.workflow).items()
        if trigger.workflow.tool is not None
    ]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def _tool(name: str, method: str, trigger: Trigger, said: Tool, schemas: Schemas, known: Mapping[str, Json]) -> McpTool:
    workflow = trigger.workflow
    arguments, members, body = _input(workflow, schemas, known)
    return McpTool(
        name=name,
        trigger=trigger,
        method=method,
        title=said.title and plain_text(without_tokens(said.title)),
        description=description_of(workflow),
        input_schema=arguments,
        output_schema=_output(workflow, schemas, known),
        annotations=annotations_of(said, method),
        members=members,
        body=body,
    )


def annotations_of(said: Tool, method: str) -> Json:
    """The hints of a tool with this method: what its author says, else what the method means."""
    reads = said.read_only if said.read_only is not None else method in _SAFE and not said.destructive
    destroys = said.destructive if said.destructive is not None else not reads
    repeats = said.idempotent if said.idempotent is not None else reads or method in _IDEMPOTENT
    title = {"title": plain_text(without_tokens(said.title))} if said.title else {}
    return {**title, "readOnlyHint": reads, "destructiveHint": destroys, "idempotentHint": repeats}


def _input(workflow: Workflow, schemas: Schemas, known: Mapping[str, Json]) -> tuple[Json, bool, str]:
    """The schema of the arguments, whether the members of the body are among them, and the name that the body has
    otherwise."""
    beside = {name: plain(schemas.of(workflow, name) or {"type": "string"}, known) for name in _path_names(workflow)}
    required = [*beside]
    for each in _query_parameters(workflow):
        schema = plain(schemas.of(workflow, each.name), known)
        beside[each.name] = schema if each.required else without_null(schema)
        required += [each.name] if each.required else []
    made: Json = {"type": "object", "properties": beside, "required": required, "additionalProperties": False}
    body = workflow.body
    if body is None:
        return _tidy(made), False, ""
    schema = plain(schemas.of(workflow, BODY), known)
    schema = schema if body.required else without_null(schema)
    if _has_members(schema, beside, required=body.required):
        kept = {key: value for key, value in schema.items() if not (beside and key == "examples")}
        both = {
            **kept,
            "properties": beside | schema["properties"],
            "required": required + schema.get("required", []),
        }
        return _tidy(both), True, ""
    name = BODY_ARGUMENT
    while name in beside:
        name = f"request_{name}"
    made["properties"] = {**beside, name: schema}
    made["required"] = [*required, name] if body.required else required
    return _tidy(made), False, name


def _tidy(schema: Json) -> Json:
    """The schema of all arguments, without what says nothing there."""
    left = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if not left.get("required"):
        left.pop("required", None)
    return left


def _has_members(schema: Json, beside: Mapping[str, Json], *, required: bool) -> bool:
    """Whether the members of a body can be arguments beside those of the path and the query. A body that may be left
    out can, if it needs none of its members: without them nothing is sent."""
    members = schema.get("properties")
    if schema.get("type") != "object" or members is None or _COMPOSED & schema.keys():
        return False
    if schema.get("required") and not required:
        return False
    if beside and (schema.keys() - _OF_AN_OBJECT) and not _is_closed(schema):
        return False
    return not members.keys() & beside.keys() and all(map(_ARGUMENT.fullmatch, members))


def _is_closed(schema: Json) -> bool:
    """Whether an object has no other members than those that it names, and no rule about all of them."""
    more = schema.keys() - _OF_AN_OBJECT - {"default", "examples"}
    return more <= {"additionalProperties"} and schema.get("additionalProperties", False) is False


def _output(workflow: Workflow, schemas: Schemas, known: Mapping[str, Json]) -> Json | None:
    """The schema of results that are validated: an object, or `{"result": ...}` of anything that is certainly none. A
    durable run may have no result yet, and then has none."""
    if workflow.result is None or workflow.durable or workflow.produces:
        return None
    schema = plain(schemas.of(workflow, RESULT), known, nullable=True)
    if schema.get("type") == "object":
        return None if _COMPOSED & schema.keys() else _tidy(schema)
    if not _is_never_an_object(schema):
        return None
    return {"type": "object", "properties": {"result": schema}, "required": ["result"]}


def _is_never_an_object(schema: Json) -> bool:
    if "type" in schema:
        return bool(schema["type"] != "object")
    if "const" in schema or "enum" in schema:
        return not any(isinstance(each, dict) for each in schema.get("enum", [schema.get("const")]))
    choices = schema.get("anyOf") or schema.get("oneOf") or []
    return bool(choices) and all(map(_is_never_an_object, choices))


def _path_names(workflow: Workflow) -> list[str]:
    return _IN_BRACES.findall(workflow.path)


def _query_parameters(workflow: Workflow) -> list[RequestParameter]:
    return [each for each in workflow.parameters if each.place == "query"]


def _names_of(workflow: Workflow) -> set[str]:
    return {*_path_names(workflow), *(each.name for each in _query_parameters(workflow))}


def _path(workflow: Workflow, arguments: Mapping[str, Any]) -> tuple[bytes, list[Mistake]]:
    """The raw path, with its parameters escaped so that `triggers.find` finds them again, and what is wrong."""
    parts, mistakes = [workflow.name], []
    for segment in workflow.path_segments:
        if not segment.startswith("{"):
            parts.append(segment)
            continue
        name = segment[1:-1]
        text = _text(arguments[name]) if name in arguments else None
        why = "Field required" if name not in arguments else _NO_TEXT if text is None else _unfit_for_path(text)
        if why:
            mistakes.append(_mistake(("path", name), why))
        parts.append("" if why else quote(text or "", safe=""))
    return b"/triggers/" + "/".join(parts).encode(), mistakes


def _unfit_for_path(text: str) -> str:
    """Why a text cannot be a part of a path; "" if it can."""
    if not text or text in (".", ".."):
        return "cannot be empty, or a dot, or two"
    if any(each in "/\\" or not each.isprintable() for each in text):
        return "cannot have a slash, a backslash or a control character"
    return ""


def _query(workflow: Workflow, arguments: Mapping[str, Any]) -> tuple[bytes, list[Mistake]]:
    """The query with its question mark, b"" if there is none, and what is wrong. null is as if left out."""
    pairs: list[tuple[str, str]] = []
    mistakes = []
    for each in _query_parameters(workflow):
        value = arguments.get(each.name)
        texts = [_text(part) for part in (value if isinstance(value, list) else [] if value is None else [value])]
        if not all(text is not None and _is_unicode(text) for text in texts):
            mistakes.append(_mistake(("query", each.sent), _NO_TEXT))
        pairs += [(each.sent, text) for text in texts if text is not None and _is_unicode(text)]
    return b"?" + urlencode(pairs).encode() if pairs else b"", mistakes


def _text(value: Any) -> str | None:
    """A value as a text of a URL: a text itself, a number or a boolean as JSON; None for anything else."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else None


def _is_unicode(text: str) -> bool:
    """Whether a text is Unicode: JSON may have halves of characters."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode() if _is_unicode(text) else json.dumps(value, separators=(",", ":")).encode()


def _mistake(where: tuple[str, ...], message: str) -> Mistake:
    pointer = "".join("/" + part[:64].replace("~", "~0").replace("/", "~1") for part in where)
    return {"where": pointer, "message": message}
