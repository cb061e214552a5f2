"""A request that each operation of a document accepts, as commands to paste. It has the examples of the document,
which the workflow's own types were asked about: where there is none, there is no request. Pure.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from postern.plain_text import plain

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """A request. `path` is below the server's address, with its parameters filled in; `body` is None for no body."""

    operation_id: str
    method: str
    path: str
    body: str | None
    access: str

    def curl(self, server_url: str, token: str = "", separator: str = " ") -> str:
        """The command for curl. `token` is a shell expression that gives an access token."""
        head = self.method == "HEAD"  # curl -X HEAD waits for content, and --head takes no -d
        parts = [f"curl {'--head' if head else f'-X {self.method}'} {quoted(server_url + self.path)}"]
        if token:
            parts.append(f'-H "Authorization: Bearer {token}"')
        if self.body is not None and not head:
            parts += ["-H 'Content-Type: application/json'", f"-d {quoted(self.body)}"]
        return separator.join(parts)

    def call(self, postern: str, options: str = "") -> str:
        """The same by `postern call`."""
        parts = [postern, "call", shlex.quote(self.path.removeprefix("/triggers/")), options]
        parts += [f"--method {self.method}"] if self.method != "POST" else []
        parts += [f"--data {quoted(self.body)}"] if self.body is not None else []
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
    for parameter in operation["parameters"]:
        if parameter.get("in") == "path":
            if "example" not in parameter:
                return None
            value = parameter["example"]
            text = value if isinstance(value, str) else to_json(value).decode()
            path = path.replace("{" + parameter["name"] + "}", quote(text, safe=""))
    body = None
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        if "example" not in content:
            return None
        body = plain(to_json(content["example"]).decode())
    return ExampleRequest(operation["operationId"], method.upper(), path, body, operation["x-postern-access"])
