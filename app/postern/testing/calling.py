"""`call`: one request to a trigger, through the real pipeline."""

import json as json_module
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from postern.testing.failing import KitFailure
from postern.testing.people import Sender, sender_of
from postern.testing.record import Record
from postern.testing.result import Result, Started
from postern.testing.session import SESSION

if TYPE_CHECKING:
    from postern.catalog import Trigger
    from postern.testing.server import Server

LONGEST = 300.0
"""Real seconds that a call may take."""

Pairs = Mapping[str, str] | Sequence[tuple[str, str]]
_UNSET: Any = object()


def call(
    name: str,
    *,
    as_: Sender | str | None = None,
    json: Any = _UNSET,
    data: bytes | str | None = None,
    content_type: str = "",
    form: Mapping[str, Any] | None = None,
    files: Any = None,
    method: str = "",
    path: str = "",
    query: Mapping[str, Any] | None = None,
    headers: Pairs | None = None,
    key: str = "",
    address: str = "",
    seconds: float = LONGEST,
) -> Result:
    """Send a request to the workflow `name`, and return its reply. It is a plain function in `async def` tests too.

    `as_` is who calls: `user(...)`, `app(...)`, a person's name, or nobody. The body is `json`, or `data` of a
    `content_type`, or a `form`, or `files` with or without a form, as httpx writes them. `method` is the workflow's
    first one, `path` what follows its name. `key` is the Idempotency-Key, and `address` that of the client. A reply
    that takes more than so many real `seconds` fails the test.
    """
    started = start(
        name, as_=as_, json=json, data=data, content_type=content_type, form=form, files=files, method=method,
        path=path, query=query, headers=headers, key=key, address=address,
    )  # fmt: skip
    return started.result(seconds)


def start(
    name: str,
    *,
    as_: Sender | str | None = None,
    json: Any = _UNSET,
    data: bytes | str | None = None,
    content_type: str = "",
    form: Mapping[str, Any] | None = None,
    files: Any = None,
    method: str = "",
    path: str = "",
    query: Mapping[str, Any] | None = None,
    headers: Pairs | None = None,
    key: str = "",
    address: str = "",
) -> Started:
    """Send the same request, and do not wait: for tests that move the clock, or cancel, while a workflow runs."""
    server, scene = SESSION.server, SESSION.now
    if server.crashes.happened.is_set():
        raise KitFailure("The server process has crashed, as this test asked for: write resume() first.")
    trigger = _trigger(server, name)
    body, kind = _body(json, data, content_type, form, files)
    fields = _fields(headers)
    given = {field.lower() for field, _ in fields}
    if kind and "content-type" not in given:
        fields.append(("Content-Type", kind))
    if key:
        scene.keyed = True
        fields.append(("Idempotency-Key", key))
    sender = sender_of(as_)
    if (token := server.token(sender)) and "authorization" not in given:
        fields.append(("Authorization", f"Bearer {token}"))
    url = f"/triggers/{name}{quote(path, safe='/%:@!$&()*+,;=~-._')}"
    if query:
        url += f"?{urlencode(query, doseq=True)}"
    sent = server.send(method.upper() or _method(trigger), url, address or scene.address, fields, body)
    reply = server.begin(sent)
    scene.replies.append(reply)
    return Started(reply, sender)


def runs(workflow: str = "") -> list[Record]:
    """The runs that were started in this test, the newest first; those of one workflow if it is named. What the server
    starts by itself, after a failure for example, has been started."""
    SESSION.server.look()
    first = SESSION.now.first
    page = SESSION.server.read(f"/runs?limit=200{f'&workflow={quote(workflow)}' if workflow else ''}")
    return [record for record in page.runs if record.id > first] if page is not None else []


def _trigger(server: "Server", name: str) -> "Trigger | None":
    """The workflow's trigger; None if there is none, which the pipeline shows. A module that does not load is shown
    here: the reply would only say that there is no such workflow."""
    snapshot = server.app.catalog.snapshot
    found = snapshot.triggers.get(name)
    if found is None and snapshot.faults:
        places = [f"{fault.file}{f':{fault.line}' if fault.line else ''}" for fault in snapshot.faults]
        told = "\n".join(
            f"  {place}: {fault.cause} {fault.fix}" for place, fault in zip(places, snapshot.faults, strict=True)
        )
        raise KitFailure(f"There is no workflow {name}, and these modules do not load:\n{told}")
    return found


def _method(trigger: "Trigger | None") -> str:
    methods = trigger.workflow.methods if trigger is not None else ("POST",)
    return "POST" if "POST" in methods else methods[0]


def _fields(headers: Pairs | None) -> list[tuple[str, str]]:
    pairs: Iterable[tuple[str, str]] = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, value) for name, value in pairs]


def _body(
    json: Any, data: bytes | str | None, content_type: str, form: Mapping[str, Any] | None, files: Any
) -> tuple[bytes, str]:
    """The body and its type."""
    given = [name for name, there in (("json", json is not _UNSET), ("data", data is not None)) if there]
    if form is not None or files is not None:
        given.append("form or files")
    if len(given) > 1:
        raise ValueError(f"A request has one body: leave out {' or '.join(given[1:])}")
    if json is not _UNSET:
        return json_module.dumps(json, default=_plain).encode(), content_type or "application/json"
    if data is not None:
        return data if isinstance(data, bytes) else data.encode(), content_type
    if form is None and files is None:
        return b"", content_type
    from postern.http_client import Request

    request = Request("POST", "https://postern.test", data=dict(form or {}), files=files)
    return request.read(), content_type or request.headers["Content-Type"]


def _plain(value: Any) -> Any:
    """Models of pydantic, dates and the like, as their JSON."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)
