"""The two files of a Power Platform custom connector, made from an OpenAPI 3.1 document. Pure.

Shape and rules: learn.microsoft.com/connectors/custom-connectors, github.com/microsoft/PowerPlatformConnectors.
"""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from postern.openapi.connector_auth import SignIn
from postern.openapi.connector_texts import (
    description_of,
    operation_id_of,
    sentence_of,
    summary_of,
    title_of,
    words_of,
)
from postern.openapi.conversion_loss import Loss, at
from postern.openapi.export_error import ExportFault
from postern.openapi.swagger import METHODS, swagger_of

Json = dict[str, Any]

DEFINITION_FILE = "apiDefinition.swagger.json"
PROPERTIES_FILE = "apiProperties.json"
BRAND_COLOR = "#3B4A54"
DESCRIPTION = (
    "Runs workflows, each by its own action. The server decides which workflows an identity may run. "
    "A rejected call gets a problem with a code and a sentence."
)

_PLAIN = re.compile(r"[a-z0-9._:-]+")
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_HIDDEN_HEADERS = ("idempotency-key", "prefer", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Address:
    """The address at which the platform reaches the server, always by https. `base_path` is "/" if there is none."""

    host: str
    base_path: str

    @property
    def url(self) -> str:
        """The URL, as people write it."""
        return f"https://{self.host}{self.base_path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Connector:
    """The content of the two files, and what was lost or changed in the conversion."""

    definition: Json
    properties: Json
    losses: tuple[Loss, ...]

    def workflows(self) -> list[str]:
        """The names of the workflows that have an action in it."""
        return sorted({path.split("/")[2] for path in self.definition["paths"]})

    def files(self) -> dict[str, str]:
        """The files' texts by name: indented by four spaces, and in ASCII, which every tool reads."""
        return {DEFINITION_FILE: _written(self.definition), PROPERTIES_FILE: _written(self.properties)}


def address_of(written: str, setting: str) -> Address:
    """The address in a setting or option, with or without `https://`. Raises ExportFault if the platform cannot reach
    it: it calls from the internet and by https only."""
    parts = urlsplit(written if "://" in written else f"https://{written}")
    fix = f"Set {setting} to the address under which the internet reaches this server, like https://postern.example.com"
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme != "https":
        raise ExportFault(f"{setting}: {written} is not https, and the platform calls only by https. {fix}")
    plain = _PLAIN.fullmatch(host) and _PLAIN_PATH.fullmatch(parts.path)
    if not plain or parts.username is not None or parts.query or parts.fragment:
        raise ExportFault(f"{setting}: {written} is not an address of a server. {fix}")
    if not _is_public(host):
        raise ExportFault(
            f"{setting}: the platform cannot reach {host}, which is a name or address of an internal network. {fix}"
        )
    return Address(host if port in (None, 443) else f"{host}:{port}", parts.path.rstrip("/") or "/")


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global and ":" not in host  # host has no place for IPv6 in OpenAPI 2.0
    except ValueError:
        inner = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return "." in host.strip(".") and not host.endswith(inner)


def connector_of(document: Mapping[str, Any], address: Address, sign_in: SignIn, title: str) -> Connector:
    """The connector of this OpenAPI 3.1 document. Raises ExportFault if it would have no action."""
    swagger, losses = swagger_of(document)
    if not swagger["paths"]:
        raise ExportFault("None of the workflows has a method that the platform can call. Give one of them a POST")
    own_title = title_of(title)
    polish = _Polish()
    paths = {path: polish.item(path, item) for path, item in swagger["paths"].items()}
    definitions = {
        name: polish.schema(schema, at("", "definitions", name)) for name, schema in swagger["definitions"].items()
    }
    security = sign_in.security()
    definition: Json = {
        "swagger": "2.0",
        "info": {
            "title": own_title.text,
            "description": DESCRIPTION,
            "version": swagger["info"]["version"],
            "contact": {"name": own_title.text, "url": address.url},
        },
        "host": address.host,
        "basePath": address.base_path,
        "schemes": ["https"],
        "consumes": swagger["consumes"],
        "produces": swagger["produces"],
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": security,
        "security": [{name: []} for name in security],
        "x-ms-connector-metadata": [
            {"propertyName": "Website", "propertyValue": address.url},
            {"propertyName": "Categories", "propertyValue": "Productivity"},
        ],
    }
    properties: Json = {
        "properties": {
            "connectionParameters": sign_in.parameters(),
            "iconBrandColor": BRAND_COLOR,
            "capabilities": [],
            "policyTemplateInstances": [],
        }
    }
    of_title = [Loss("", own_title.change)] if own_title.change else []
    of_signing_in = [loss for loss in losses if not loss.where.startswith("/components/securitySchemes")]
    return Connector(definition, properties, (*of_title, *of_signing_in, *polish.losses))


class _Polish:
    """Operations and schemas with the names and sentences that the platform shows."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def item(self, path: str, item: Mapping[str, Any]) -> Json:
        """The operations of one path. If there are several, each name ends with its method, to distinguish them."""
        methods = [method for method in item if method in METHODS]
        return {
            method: self._operation(
                item[method], path, at("", "paths", path, method), method if len(methods) > 1 else ""
            )
            for method in methods
        }

    def schema(self, schema: Mapping[str, Any], where: str, name: str = "") -> Json:
        """A schema whose members have a display name: the author's title, or the member's name in words. `name` is the
        member that the schema describes."""
        made: Json = {key: value for key, value in schema.items() if key != "title"}
        if name and "$ref" not in schema:
            made.setdefault("x-ms-summary", self._summary(schema.get("title"), words_of(name), where))
        if "description" in made:
            made["description"] = sentence_of(made["description"])
            if not made["description"]:
                del made["description"]
        if "properties" in made:
            made["properties"] = {
                each: self.schema(part, at(where, "properties", each), each)
                for each, part in made["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if isinstance(made.get(key), dict):
                made[key] = self.schema(made[key], at(where, key))
        return made

    def _summary(self, wanted: str | None, otherwise: str, where: str, end: str = "") -> str:
        """The display name: the wanted one by the platform's rules, or `otherwise` if nothing is left of it."""
        adapted = summary_of(wanted or otherwise, end)
        if adapted.change:
            self.losses.append(Loss(where, adapted.change))
        return adapted.text or summary_of(otherwise, end).text or f"Value{end}"

    def _operation(self, operation: Mapping[str, Any], path: str, where: str, method: str) -> Json:
        name = path.split("/")[2]
        end = f" by {method.upper()}" if method else ""
        summary = self._summary(operation.get("summary"), words_of(name), where, end)
        return {
            "summary": summary,
            "description": description_of(operation.get("description", ""), summary, name),
            "operationId": operation_id_of(operation["operationId"]),
            **{name: operation[name] for name in ("consumes", "produces") if name in operation},
            "parameters": [
                self._parameter(parameter, at(where, "parameters", n))
                for n, parameter in enumerate(operation["parameters"])
            ],
            "responses": dict(self._responses(operation["responses"], where)),
        }

    def _parameter(self, parameter: Mapping[str, Any], where: str) -> Json:
        made = dict(parameter)
        words = words_of(parameter["name"])
        made.setdefault("x-ms-summary", self._summary(None, words, where))
        fallback = "The input of the workflow." if parameter["in"] == "body" else f"The value of {words.lower()}."
        made["description"] = sentence_of(parameter.get("description", "")) or fallback
        if parameter["in"] == "header" and parameter["name"].lower() in _HIDDEN_HEADERS:
            made["x-ms-visibility"] = "advanced"
        if "schema" in parameter:
            made["schema"] = self.schema(parameter["schema"], at(where, "schema"))
        order = ("name", "in", "required", "type", "format", "x-ms-summary", "description")
        return {key: made[key] for key in order if key in made} | made

    def _responses(self, responses: Mapping[str, Any], where: str) -> Iterator[tuple[str, Json]]:
        for status, response in responses.items():
            made = dict(response)
            made["description"] = sentence_of(response["description"]) or "A response."
            if "schema" in made:
                made["schema"] = self.schema(made["schema"], at(where, "responses", status, "schema"))
            yield status, made


def _written(content: Json) -> str:
    return json.dumps(content, indent=4, allow_nan=False) + "\n"
