"""The HTML page of an OpenAPI document: each trigger with its request, its response and a command to paste.

It is made from the document alone, so it cannot show more than the document. The template escapes authors' texts.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from pydantic_core import to_json

from postern.openapi.examples import Examples
from postern.openapi.property_table import Member, Reader

if TYPE_CHECKING:
    from jinja2 import Template

Json = dict[str, Any]

ACCESS: Mapping[str, tuple[str, str]] = {
    "anonymous": ("Requires no token", "Anyone"),
    "tenant_users": ("Requires a token from this tenant", "Any user in my tenant"),
    "specific_users": ("Requires a token of a caller on its list", "Specific users in my tenant"),
}
"""Each access mode in words, and in Power Automate's own words."""

CONTENT_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_MARKS = " .!?:;,。"
_FOLDER = files("postern.openapi") / "assets"


class Shape(NamedTuple):
    """A request body or response: its type in words, its members, and an example as text ("" if there is none)."""

    words: str
    description: str
    members: list[Member]
    example: str


class ProblemRow(NamedTuple):
    """A problem that a caller may get."""

    status: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    url: str
    summary: str
    description: str
    access: str
    who: str
    power_automate: str
    conditions: list[str]
    scopes: list[str]
    parameters: list[Member]
    request_body: Shape | None
    body_required: bool
    response: Shape
    chooses_status: bool
    problems: list[ProblemRow]
    command: str


@cache
def assets() -> Mapping[str, bytes]:
    """The stylesheet and the script by their file names, which contain a digest of their content."""
    found = {}
    for name in ("docs.css", "docs.js"):
        content = (_FOLDER / name).read_bytes()
        stem, _, kind = name.partition(".")
        found[f"{stem}.{sha256(content).hexdigest()[:12]}.{kind}"] = content
    return found


def page(document: Json, *, token_command: str = "") -> str:
    """The page of a document. `token_command` prints a token of a local tenant. If it is "", the page shows which scope
    to request from Entra."""
    drawer = _Drawer(document, token_command)
    shown = [
        drawer.shown(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    names = {name.rpartition(".")[2]: name for name in assets()}
    scopes = list(dict.fromkeys(scope for each in shown for scope in each.scopes[:1]))
    return _template().render(
        info=document["info"], operations=shown, assets=names, scopes=scopes, local=bool(token_command)
    )


class _Drawer:
    def __init__(self, document: Json, token_command: str) -> None:
        self._server = document["servers"][0]["url"].rstrip("/")
        self._components = document["components"]
        self._reader = Reader(self._components["schemas"])
        self._examples = Examples(self._components["schemas"])
        self._token = f"$({token_command})" if token_command else "$TOKEN"

    def shown(self, path: str, method: str, operation: Json) -> Shown:
        """One operation."""
        mode = operation["x-postern-access"]
        body = operation.get("requestBody")
        in_path = [each for each in operation["parameters"] if each.get("in") == "path"]
        scopes = [scope for each in operation["security"] for scopes in each.values() for scope in scopes]
        given = operation["responses"]["200"]["content"]["application/json"]["schema"]
        description, summary = operation["description"], operation["summary"]
        return Shown(
            id=operation["operationId"],
            method=method.upper(),
            path=path,
            url=self._server + path,
            summary=summary,
            description=description.removeprefix(summary.rstrip(_MARKS)).lstrip(_MARKS + "\n"),
            access=mode,
            who=ACCESS[mode][0],
            power_automate=ACCESS[mode][1],
            conditions=operation.get("x-postern-asks", []),
            scopes=scopes,
            parameters=[self._parameter(each) for each in in_path],
            request_body=self._shape(_schema_of(body), examples=True) if body else None,
            body_required=bool(body and body["required"]),
            response=self._shape(given),
            chooses_status="2XX" in operation["responses"],
            problems=self._problems(operation["responses"]),
            command=self._command(path, method, operation, in_path),
        )

    def _shape(self, schema: Json, *, examples: bool = False) -> Shape:
        text = _indented(self._examples.example(schema)) if examples and schema else ""
        about = str(self._reader.resolved(schema).get("description", ""))
        return Shape(self._reader.words(schema), about, self._reader.members(schema), text)

    def _parameter(self, parameter: Json) -> Member:
        schema = parameter["schema"]
        about = str(self._reader.resolved(schema).get("description", ""))
        return Member(parameter["name"], self._reader.words(schema), True, about, self._reader.notes(schema))

    def _problems(self, responses: Json) -> list[ProblemRow]:
        rows = []
        for status, response in responses.items():
            component = self._components["responses"].get(response.get("$ref", "").rpartition("/")[2])
            if component is None:
                continue
            for code, example in component["content"]["application/problem+json"]["examples"].items():
                detail = component["description"] if status == "default" else example["value"]["detail"]
                rows.append(ProblemRow("" if status == "default" else status, code, detail))
        return rows

    def _command(self, path: str, method: str, operation: Json, in_path: list[Json]) -> str:
        for parameter in in_path:
            value = self._examples.example(parameter["schema"])
            text = value if isinstance(value, str) else to_json(value).decode()
            path = path.replace("{" + parameter["name"] + "}", quote(text, safe=""))
        head = method.lower() == "head"  # curl -X HEAD waits for content, and --head takes no -d
        how = "--head" if head else f"-X {method.upper()}"
        lines = [f"curl {how} {_quoted(self._server + path)}"]
        if operation["security"]:
            lines.append(f'-H "Authorization: Bearer {self._token}"')
        if "requestBody" in operation and not head:
            example = self._examples.example(_schema_of(operation["requestBody"]))
            lines += ["-H 'Content-Type: application/json'", f"-d {_quoted(to_json(example).decode())}"]
        return " \\\n  ".join(lines)


def _schema_of(body: Json) -> Json:
    schema: Json = body["content"]["application/json"]["schema"]
    return schema


def _quoted(text: str) -> str:
    """As a shell word, always in quotes."""
    quoted = shlex.quote(text)
    return quoted if quoted != text else f"'{text}'"


def _indented(value: Any) -> str:
    return to_json(value, indent=2).decode()


@cache
def _template() -> "Template":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(lambda name: (_FOLDER / name).read_text(encoding="utf-8"))
    context = Environment(
        autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return context.get_template("docs.html")
