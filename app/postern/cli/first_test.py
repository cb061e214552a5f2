"""The text of a first test of a workflow, made of its access, its body and what it uses. Pure."""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pprint import pformat
from typing import Any
from urllib.parse import parse_qs

from postern.access import OPEN, Guarded, Signed
from postern.authoring.sent_form import URLENCODED
from postern.catalog import Trigger
from postern.openapi.example_requests import ExampleRequest

NAMES = re.compile(r"\b(call|user|app|nobody|connections|secrets|triggers)\b")
"""What a test imports of the kit."""

Outside = list[tuple[str, str]]
"""What a workflow reaches: ("connections" or "triggers", name)."""

LONGEST = 100
"""Characters of a line."""


class NoTest(Exception):
    """There is no first test of a workflow that could pass. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Outsider:
    """Someone who may not call the workflow, as the kit writes them, and why not."""

    written: str
    refused: str


def first_test(
    trigger: Trigger, request: ExampleRequest | None, caller: str, outsider: Outsider | None, outside: Outside
) -> str:
    """The module. `caller` is who may call the workflow, as the kit writes it. `outside` is what the
    workflow reaches. Raises NoTest."""
    name, policy = trigger.workflow.name, trigger.policy
    if isinstance(policy, Signed):
        raise NoTest("its requests are signed by their sender: sign one in the test, and send it with headers=")
    if policy is not OPEN and not caller:
        raise NoTest("nobody in the local tenant may call it: add a person to [people] in postern.toml")
    if request is None:
        raise NoTest(
            "no example of its request is known: give call() what it needs, with json=, form=, "
            'files={"picture": b"..."}, query= or headers='
        )
    tests = [_called(trigger, request, caller, outside)]
    if isinstance(policy, Guarded) and outsider is not None:
        tests.append(_refused(name, request, outsider))
    names = sorted({found for text in tests for found in NAMES.findall(text)})
    head = f'"""Tests of the workflow {name}."""\n\nfrom postern.testing import {", ".join(names)}\n'
    return head + "".join(f"\n\n{text}" for text in tests)


def outside_of(trigger: Trigger, triggers: Mapping[str, Trigger]) -> Outside:
    """What the function of a workflow reaches outside of the project, as far as its code shows, and so do the workflows
    of the project that it calls."""
    found: Outside = []
    seen: set[str] = set()
    waiting = [trigger]
    while waiting:
        each = waiting.pop(0)
        if each.workflow.name in seen:
            continue
        seen.add(each.workflow.name)
        for kind, name in _reached(each):
            if kind == "triggers" and name in triggers:
                waiting.append(triggers[name])
            else:
                found.append((kind, name))
    return list(dict.fromkeys(found))


def _reached(trigger: Trigger) -> Iterable[tuple[str, str]]:
    """The connections that a workflow declares, and what its function names."""
    yield from (("connections", name) for name in trigger.workflow.connections or ())
    function = trigger.workflow.function.__name__
    for node in ast.walk(ast.parse(trigger.file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function:
            yield from _named(node)


def _named(function: ast.AST) -> Iterable[tuple[str, str]]:
    kinds = {"connection": "connections", "call": "triggers"}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in kinds:
            for first in node.args[:1]:
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield kinds[node.func.attr], first.value


def _called(trigger: Trigger, request: ExampleRequest | None, caller: str, outside: Outside) -> str:
    name = trigger.workflow.name
    sent = _call(name, request, caller)
    known = "".join(f'    secrets[{_text(each)}] = "test"\n' for each in trigger.workflow.secrets or ())
    if request is not None and request.files:
        known += "    # The content of each file is an example: give one that the workflow can read.\n"
    if not outside:
        status = 202 if trigger.workflow.durable else 300
        holds = "result.status == 202" if status == 202 else "result.status < 300"
        return f"def test_{_word(name)}():\n{known}{_assigned(sent)}    assert {holds}, result.text\n"
    kind, other = outside[0]
    hint = f"    # For its success: {kind}[{_text(other)}]" + (
        ".replies({...})\n" if kind == "triggers" else '.get("/PATH").replies({...})\n'
    )
    return (
        f"def test_{_word(name)}_without_{_word(other)}():\n{known}"
        f"    {kind}[{_text(other)}].fails(503)\n{hint}{_assigned(sent)}    assert result.status >= 500, result.text\n"
    )


def _refused(name: str, request: ExampleRequest | None, outsider: Outsider) -> str:
    sent = _call(name, None, outsider.written, method=request.method if request else "", path=_path(name, request))
    return f"def test_{_word(name)}_refuses_others():\n    assert {sent}.refused == {_text(outsider.refused)}\n"


def _call(name: str, request: ExampleRequest | None, caller: str, method: str = "", path: str = "") -> str:
    """The call as code, on one line."""
    parts = [_text(name)]
    path = path or _path(name, request)
    path, _, query = path.partition("?")
    if path:
        parts.append(f"path={_text(path)}")
    if query:
        parts.append(f"query={_value(_pairs(query))}")
    if request is not None and request.headers:
        parts.append(f"headers={_value(dict(each.split(': ', 1) for each in request.headers))}")
    if caller:
        parts.append(f"as_={caller}")
    method = method or (request.method if request else "")
    if method not in ("", "POST"):
        parts.append(f"method={_text(method)}")
    if request is not None and request.files:
        parts += _form_with_files(request)
    elif request is not None and request.body is not None and request.content_type == URLENCODED:
        parts.append(f"form={_value(_pairs(request.body))}")
    elif request is not None and request.body is not None:
        parts.append(f"json={_value(json.loads(request.body))}")
    return f"call({', '.join(parts)})"


def _assigned(call: str) -> str:
    """The lines that keep the result of a call."""
    line = f"    result = {call}\n"
    if len(line) <= LONGEST or "json=" not in call:
        return line
    before, _, body = call.partition(", json=")
    value = _quoted(pformat(ast.literal_eval(body[:-1]), width=LONGEST - 12, sort_dicts=False))
    value = value.replace("\n", "\n           ")
    return f"    body = {value}\n    result = {before}, json=body)\n"


def _form_with_files(request: ExampleRequest) -> list[str]:
    """The arguments form= and files=."""
    texts: dict[str, list[str]] = {}
    files: dict[str, list[bytes]] = {}
    for name, value in request.parts:
        if name in request.files:
            files.setdefault(name, []).append(value.encode())
        else:
            texts.setdefault(name, []).append(value)
    several = any(len(each) > 1 for each in files.values())
    sent: Any = [(name, each) for name, values in files.items() for each in values] if several else _single(files)
    return ([f"form={_value(_single(texts))}"] if texts else []) + [f"files={_value(sent)}"]


def _path(name: str, request: ExampleRequest | None) -> str:
    return request.path.removeprefix(f"/triggers/{name}") if request is not None else ""


def _pairs(text: str) -> dict[str, str | list[str]]:
    """The values by name, as a query and a form have them."""
    return _single(parse_qs(text, keep_blank_values=True))


def _single(values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The values by name, without a list where there is one."""
    return {name: each[0] if len(each) == 1 else each for name, each in values.items()}


def _value(value: Any) -> str:
    return _quoted(repr(value))


def _quoted(text: str) -> str:
    """The same in double quotes, where no other text has any."""
    return text.replace("'", '"') if '"' not in text and "\\" not in text else text


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)
