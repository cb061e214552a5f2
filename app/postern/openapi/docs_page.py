"""The HTML page of an OpenAPI document: each trigger with its request, its response and a command to paste.

It is made from the document alone, so it cannot show more than the document. The template escapes authors' texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import to_json

from postern.openapi.document import SIGNED_BY, SIGNED_URL
from postern.openapi.example_requests import example_requests
from postern.openapi.media import first_media
from postern.openapi.property_table import Member, Reader
from postern.plain_text import plain

if TYPE_CHECKING:
    from jinja2 import Template

Json = dict[str, Any]

ACCESS: Mapping[str, tuple[str, str]] = {
    "anonymous": ("Requires no token", "Anyone"),
    "tenant_users": ("Requires a token from this tenant", "Any user in my tenant"),
    "specific_users": ("Requires a token of a caller on its list", "Specific users in my tenant"),
}
"""Each access mode in words, and in Power Automate's own words."""

NOBODY = "No person or application of the local tenant may call it."
BY_SIGNED_URL = "It is called by a signed URL, which an operator makes with postern link."
BY_SENDER = "Only its sender calls it, and signs each request."
NO_EXAMPLE = (
    "No example is known that the workflow accepts. Its author can give one: "
    "Field(examples=[…]) for a value, or json_schema_extra for a model."
)

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
    tool: str
    scopes: list[str]
    parameters: list[Member]
    others: list[Member]
    request_body: Shape | None
    body_required: bool
    body_types: list[str]
    response: Shape
    response_type: str
    chooses_status: bool
    later: bool
    problems: list[ProblemRow]
    command: str
    no_command: str


@cache
def assets() -> Mapping[str, bytes]:
    """The stylesheet and the script by their file names, which contain a digest of their content."""
    found = {}
    for name in ("docs.css", "docs.js"):
        content = (_FOLDER / name).read_bytes()
        stem, _, kind = name.partition(".")
        found[f"{stem}.{sha256(content).hexdigest()[:12]}.{kind}"] = content
    return found


def page(document: Json, *, tokens: Mapping[str, str] | None = None) -> str:
    """The page of a document. With a local tenant, `tokens` has for each operation that requires a token the command
    that prints a suitable one, "" if nobody there may call it. Without, the page shows which scope to request from
    Entra."""
    shown = shown_operations(document, tokens)
    names = {name.rpartition(".")[2]: name for name in assets()}
    scopes = list(dict.fromkeys(scope for each in shown for scope in each.scopes[:1]))
    return _template().render(
        info=document["info"], operations=shown, assets=names, scopes=scopes, local=tokens is not None
    )


def shown_operations(document: Json, tokens: Mapping[str, str] | None = None) -> list[Shown]:
    """The operations of a document, as a page shows them. For `tokens` see `page`."""
    drawer = _Drawer(document, tokens)
    return [
        drawer.shown(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


class _Drawer:
    def __init__(self, document: Json, tokens: Mapping[str, str] | None) -> None:
        self._server = document["servers"][0]["url"].rstrip("/")
        self._components = document["components"]
        self._reader = Reader(self._components["schemas"])
        self._requests = example_requests(document)
        self._tokens = tokens

    def shown(self, path: str, method: str, operation: Json) -> Shown:
        """One operation."""
        mode = operation["x-postern-access"]
        body = operation.get("requestBody")
        in_path = [each for each in operation["parameters"] if each.get("in") == "path"]
        others = [each for each in operation["parameters"] if each.get("in") in ("query", "header")]
        scopes = [scope for each in operation["security"] for scopes in each.values() for scope in scopes]
        media_type, given = first_media(operation["responses"]["200"]["content"])
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
            tool=operation.get("x-postern-tool", ""),
            scopes=scopes,
            parameters=[self._parameter(each) for each in in_path],
            others=[self._parameter(each) for each in others],
            request_body=self._shape(_schema_of(body), _example_of(body)) if body else None,
            body_required=bool(body and body["required"]),
            body_types=list(body["content"]) if body else [],
            response=self._shape(given["schema"]),
            response_type=media_type,
            chooses_status="2XX" in operation["responses"],
            later="202" in operation["responses"],
            problems=self._problems(operation["responses"]),
            **self._command(operation),
        )

    def _command(self, operation: Json) -> dict[str, str]:
        """The command that calls it, or the reason why there is none."""
        request = self._requests.get(operation["operationId"])
        token = ""
        if any(SIGNED_URL in each for each in operation["security"]):
            return {"command": "", "no_command": BY_SIGNED_URL}
        if any(name.startswith(SIGNED_BY) for each in operation["security"] for name in each):
            return {"command": "", "no_command": BY_SENDER}
        if operation["security"]:
            made = "" if self._tokens is None else self._tokens.get(operation["operationId"], "")
            if self._tokens is not None and not made:
                return {"command": "", "no_command": NOBODY}
            token = f"$({made})" if made else "$TOKEN"
        if request is None:
            return {"command": "", "no_command": NO_EXAMPLE}
        return {"command": request.curl(self._server, token, " \\\n  "), "no_command": ""}

    def _shape(self, schema: Json, example: Any = None) -> Shape:
        text = _indented(example) if example is not None and schema else ""
        about = str(self._reader.resolved(schema).get("description", ""))
        return Shape(self._reader.words(schema), about, self._reader.members(schema), text)

    def _parameter(self, parameter: Json) -> Member:
        schema = parameter["schema"]
        about = str(self._reader.resolved(schema).get("description", ""))
        place = "" if parameter["in"] == "path" else f" ({parameter['in']})"
        name, required = f"{parameter['name']}{place}", parameter["required"]
        return Member(name, self._reader.words(schema), required, about, self._reader.notes(schema))

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


def _example_of(body: Json) -> Any:
    return first_media(body["content"])[1].get("example")


def _schema_of(body: Json) -> Json:
    schema: Json = first_media(body["content"])[1]["schema"]
    return schema


def _indented(value: Any) -> str:
    return to_json(value, indent=2).decode()


def _plain(shown: Any) -> Any:
    """What the page shows, with each hidden character as its code. Markup is the template's own, made of such parts."""
    return plain(shown, lines=True) if type(shown) is str else shown


@cache
def _template() -> "Template":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    loader = FunctionLoader(lambda name: (_FOLDER / name).read_text(encoding="utf-8"))
    context = Environment(
        autoescape=True, finalize=_plain, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return context.get_template("docs.html")
