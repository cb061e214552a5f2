"""A request that each operation of a document accepts, as commands to paste. It has the examples of the document,
which the workflow's own types were asked about: where there is none, there is no request. Pure.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pydantic_core import to_json

from postern.authoring.sent_form import URLENCODED
from postern.openapi.media import JSON, MULTIPART, first_media
from postern.openapi.property_table import Reader
from postern.plain_text import plain

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """A request. `path` is below the server's address, with its parameters filled in; `body` is None for no body.
    `content_type` is its type, and `headers` are those that the workflow requires. A form with files has its fields as
    JSON in `body`, and `files` are the names of those that are files, whose text is the file's content."""

    operation_id: str
    method: str
    path: str
    body: str | None
    access: str
    content_type: str = JSON
    headers: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The fields and files of a form with files, by name."""
        return _pairs(json.loads(self.body or "{}")) if self.content_type == MULTIPART else []

    def curl(self, server_url: str, token: str = "", separator: str = " ") -> str:
        """The command for curl. `token` is a shell expression that gives an access token."""
        head = self.method == "HEAD"  # curl -X HEAD waits for content, and --head takes no -d
        parts = [f"curl {'--head' if head else f'-X {self.method}'} {quoted(server_url + self.path)}"]
        if token:
            parts.append(f'-H "Authorization: Bearer {token}"')
        parts += [f"-H {quoted(each)}" for each in self.headers]
        if self.parts and not head:
            parts += [
                f"-F {quoted(f'{name}={value};filename={name}.txt')}"
                if name in self.files
                else f"--form-string {quoted(f'{name}={value}')}"
                for name, value in self.parts
            ]
        elif self.body is not None and not head:
            parts += [f"-H 'Content-Type: {self.content_type}'", f"-d {quoted(self.body)}"]
        return separator.join(parts)

    def call(self, postern: str, options: str = "") -> str:
        """The same by `postern call`, which reads each file from a file of its name."""
        parts = [postern, "call", shlex.quote(self.path.removeprefix("/triggers/")), options]
        parts += [f"--method {self.method}"] if self.method != "POST" else []
        parts += [f"--header {quoted(each)}" for each in self.headers]
        if self.parts:
            sent = [f"{name}=@{name}.txt" if name in self.files else f"{name}={value}" for name, value in self.parts]
            parts += [f"--form {quoted(each)}" for each in sent]
        elif self.body is not None and self.content_type != JSON:
            parts += [f"--form {quoted(each)}" for each in self.body.split("&")]
        elif self.body is not None:
            parts.append(f"--data {quoted(self.body)}")
        return " ".join(filter(None, parts))


def example_requests(document: Json) -> Mapping[str, ExampleRequest]:
    """The requests by operation. An operation is missing if no example of its body or path is known."""
    found = {}
    reader = Reader(document["components"]["schemas"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            request = _request(path, method, operation, reader)
            if request is not None:
                found[request.operation_id] = request
    return found


def quoted(text: str) -> str:
    """As a shell word, always in quotes."""
    word = shlex.quote(text)
    return word if word != text else f"'{text}'"


def _request(path: str, method: str, operation: Json, reader: Reader) -> ExampleRequest | None:
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
    sent = _body(operation.get("requestBody"), reader)
    if sent is None:
        return None
    url = f"{path}?{urlencode(query)}" if query else path
    name, access = operation["operationId"], operation["x-postern-access"]
    body, content_type, files = sent
    return ExampleRequest(name, method.upper(), url, body, access, content_type, tuple(headers), files)


def _body(described: Json | None, reader: Reader) -> tuple[str | None, str, frozenset[str]] | None:
    """The body, its type, and the names of the files of a form; None if no example of it is known."""
    if described is None:
        return None, JSON, frozenset()
    kind, content = first_media(described["content"])
    if "example" not in content:
        return None
    body = plain(to_json(content["example"]).decode())
    if kind == JSON:
        return body, JSON, frozenset()
    members = reader.resolved(content["schema"]).get("properties", {})
    files = frozenset(name for name, each in members.items() if reader.is_file(each))
    return (body, MULTIPART, files) if files else (urlencode(_pairs(content["example"])), URLENCODED, files)


def _pairs(example: Json) -> list[tuple[str, str]]:
    """The values of a form by name, with each value of a list as one."""
    pairs = [
        (name, each) for name, value in example.items() for each in (value if isinstance(value, list) else [value])
    ]
    return [(name, value if isinstance(value, str) else to_json(value).decode()) for name, value in pairs]
