"""A request that each operation of a document accepts, as commands to paste. It has the examples of the document,
which the workflow's own types were asked about: where there is none, there is no request. Pure.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pydantic_core import to_json

from postern.authoring.sent_form import URLENCODED
from postern.openapi.media import JSON, first_media
from postern.plain_text import plain

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """A request. `path` is below the server's address, with its parameters filled in; `body` is None for no body.
    `content_type` is its type, and `headers` are those that the workflow requires."""

    operation_id: str
    method: str
    path: str
    body: str | None
    access: str
    content_type: str = JSON
    headers: tuple[str, ...] = ()

    def curl(self, server_url: str, token: str = "", separator: str = " ") -> str:
        """The command for curl. `token` is a shell expression that gives an access token."""
        head = self.method == "HEAD"  # curl -X HEAD waits for content, and --head takes no -d
        parts = [f"curl {'--head' if head else f'-X {self.method}'} {quoted(server_url + self.path)}"]
        if token:
            parts.append(f'-H "Authorization: Bearer {token}"')
        parts += [f"-H {quoted(each)}" for each in self.headers]
        if self.body is not None and not head:
            parts += [f"-H 'Content-Type: {self.content_type}'", f"-d {quoted(self.body)}"]
        return separator.join(parts)

    def call(self, postern: str, options: str = "") -> str:
        """The same by `postern call`."""
        parts = [postern, "call", shlex.quote(self.path.removeprefix("/triggers/")), options]
        parts += [f"--method {self.method}"] if self.method != "POST" else []
        parts += [f"--header {quoted(each)}" for each in self.headers]
        if self.body is not None and self.content_type != JSON:
            parts += [f"--form {quoted(each)}" for each in self.body.split("&")]
        elif self.body is not None:
            parts.append(f"--data {quoted(self.body)}")
        return " ".join(filter(None, parts))


def example_requests(document: Json) -> Mapping[str, ExampleRequest]:
    """The requests by operation. An operation is missing if no example of its body or path is known."""
    found = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            request = _request(path, method, operation)
            if request is not None:
                found[request.operation_id] = request
    return found


def quoted(text: str) -> str:
    """As a shell word, always in quotes."""
    word = shlex.quote(text)
    return word if word != text else f"'{text}'"


def _request(path: str, method: str, operation: Json) -> ExampleRequest | None:
    query, headers = [], []
    for parameter in operation["parameters"]:
        place = parameter.get("in")
        if place is None or (place != "path" and not parameter["required"]):
            continue
        if "example" not in parameter:
            return None
        value = parameter["example"]
        text = value if isinstance(value, str) else to_json(value).decode()
        if place == "path":
            path = path.replace("{" + parameter["name"] + "}", quote(text, safe=""))
        elif place == "query":
            query.append((parameter["name"], text))
        elif place == "header":
            headers.append(f"{parameter['name']}: {plain(text)}")
    body, content_type = None, JSON
    if "requestBody" in operation:
        kind, content = first_media(operation["requestBody"]["content"])
        if "example" not in content:
            return None
        body = plain(to_json(content["example"]).decode())
        if kind != JSON:
            body, content_type = _form(content["example"]), URLENCODED
    url = f"{path}?{urlencode(query)}" if query else path
    name, access = operation["operationId"], operation["x-postern-access"]
    return ExampleRequest(name, method.upper(), url, body, access, content_type, tuple(headers))


def _form(example: Json) -> str:
    pairs = [
        (name, each) for name, value in example.items() for each in (value if isinstance(value, list) else [value])
    ]
    return urlencode([(name, value if isinstance(value, str) else to_json(value).decode()) for name, value in pairs])
