"""What is kept of a request to run it later: the request as the workflow may see it, its caller, and how it began."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from secrets import token_hex
from typing import Any

from pydantic_core import to_json

from postern.access import Agent, Caller, StartedBy, Via
from postern.authoring.request import Request
from postern.authoring.workflow import Workflow
from postern.call_chain import Chain
from postern.connections.sealing.sealed_text import CannotOpen
from postern.journal.run import Run
from postern.journal.writing.request_headers import is_credential
from postern.trace import Trace


@lru_cache(maxsize=256)
def _is_credential(name: bytes) -> bool:
    return is_credential(name.decode("latin-1"))


_FIELDS = tuple(each.name for each in fields(Caller))
_values = attrgetter(*_FIELDS)
_SETS = frozenset({"scopes", "roles", "auth_contexts", "capabilities"})


@dataclass(frozen=True, slots=True)
class Payload:
    """A request that was accepted. `started_at` is in Unix seconds, `timeout` in seconds, infinite for none."""

    request: Request = field(repr=False)
    caller: Caller
    started_by: StartedBy
    started_at: float
    timeout: float
    parent_run_id: str = ""
    resubmitted_from: str = ""
    resubmitted_by: str = ""
    trace_id: str = ""
    workflow: str = ""
    secret_of_calls: str = field(default="", repr=False)
    """Under it the keys of the run's calls are made, in hexadecimal: they are the same in each execution."""


def payload_of(text: str, workflow: str, repeats: int = 0) -> Payload:
    """The payload of a run of this workflow. If some of its steps were repeated so many times on purpose, its calls
    have new keys, so that what was called does not return its earlier reply. Raises CannotOpen if it is of another
    workflow: who can write the database would have this one called by somebody who never called it."""
    payload = unpacked(text)
    if payload.workflow != workflow:
        raise CannotOpen("it is of another workflow")
    if not repeats:
        return payload
    secret = sha256(f"{payload.secret_of_calls} {repeats}".encode()).hexdigest()
    return replace(payload, secret_of_calls=secret)


def run_of(run_id: str, workflow: Workflow, payload: Payload) -> Run:
    """The run of a payload, before its outcome."""
    run = Run(run_id, workflow, payload.caller, payload.request, payload.started_at)
    run.parent_run_id, run.resubmitted_from = payload.parent_run_id, payload.resubmitted_from
    run.resubmitted_by, run.trace_id = payload.resubmitted_by, payload.trace_id
    return run


def packed(run: Run, started_by: StartedBy, timeout: float) -> str:
    """The payload of a run: a line of JSON, and the body in base64. It has no header field that the workflow does not
    see, and none with credentials, as a record has none: on an anonymous trigger the workflow of an inline run may see
    them."""
    request = run.request
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request._raw_headers
        if name not in request._withheld and not _is_credential(name)
    ]
    line = to_json(
        {
            "request": {
                "method": request.method,
                "path": request.path,
                "path_parameters": dict(request.path_parameters),
                "client_address": request.client_address,
                "query": request.query_string.decode("latin-1"),
                "headers": headers,
                "content_type": request.content_type,
                "trace": request.trace,
                "chain": request.chain,
            },
            "caller": _written(run.caller),
            "started_by": started_by.value,
            "started_at": run.started_at,
            "timeout": timeout,
            "secret_of_calls": token_hex(32),
            **({"via": asdict(request._via)} if request._via is not None else {}),
            "of_run": [run.parent_run_id, run.resubmitted_from, run.resubmitted_by, run.trace_id, run.workflow.name],
        }
    )
    # The body is beside the line, because JSON looks at each letter of a large one.
    return f"{line.decode()}\n{b64encode(request.body).decode()}"


def _written(caller: Caller) -> dict[str, Any]:
    """The fields of a caller. Programs that know no agents read those of the others."""
    values = dict(zip(_FIELDS, _values(caller), strict=True))
    agent = values.pop("agent")
    return values if agent is None else {**values, "agent": asdict(agent)}


def unpacked(text: str) -> Payload:
    """The payload that `packed` wrote."""
    line, _, body = text.partition("\n")
    found = json.loads(line)
    sent, caller = found["request"], found["caller"]
    request = Request(
        sent["method"],
        sent["path"],
        sent["path_parameters"],
        sent["client_address"],
        b64decode(body),
        sent["query"].encode("latin-1"),
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent["headers"]],
        content_type=sent["content_type"],
        trace=Trace(*sent["trace"]) if sent["trace"] else None,
        chain=Chain(*sent["chain"]) if sent["chain"] else None,
    )
    if "via" in found:
        request._via = Via(**found["via"])
    values: dict[str, Any] = {name: frozenset(value) if name in _SETS else value for name, value in caller.items()}
    if "agent" in values:
        values["agent"] = Agent(**values["agent"])
    known = (found["started_at"], found["timeout"], *found["of_run"], found["secret_of_calls"])
    return Payload(request, Caller(**values), StartedBy(found["started_by"]), *known)
