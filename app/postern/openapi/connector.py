"""The two files of a Power Platform custom connector, made of an OpenAPI 3.1 document. Pure.

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
    "Runs workflows, each by an action of its own. Who may run which of them is decided by the server, "
    "by the identity that it is called with; whoever may not is told so by a problem with a code and a sentence."
)

_PLAIN = re.compile(r"[a-z0-9._:-]+")
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
_HIDDEN_HEADERS = ("idempotency-key", "prefer", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the platform reaches the server: always by https. `base_path` is "/" where there is none."""

    host: str
    base_path: str

    @property
    def url(self) -> str:
        """As one would type it."""
        return f"https://{self.host}{self.base_path.rstrip('/')}"


@dataclass(frozen=True, slots=True)
class Connector:
    """The content of the two files, and what was lost or mended on the way."""

    definition: Json
    properties: Json
    losses: tuple[Loss, ...]

    def workflows(self) -> list[str]:
        """The workflows that have an action in it, by name."""
        return sorted({path.split("/")[2] for path in self.definition["paths"]})

    def files(self) -> dict[str, str]:
        """Their texts by name: four spaces, and ASCII, which every tool reads."""
        return {DEFINITION_FILE: _written(self.definition), PROPERTIES_FILE: _written(self.properties)}


def address_of(written: str, setting: str) -> Address:
    """The address that stands in a setting or option, with or without `https://`. Raises ExportFault where the
    platform, which calls from outside and by https only, cannot reach it."""
    parts = urlsplit(written if "://" in written else f"https://{written}")
    fix = f"Set {setting} to the address under which the internet reaches this server, like https://postern.example.com"
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if parts.scheme != "https":
        raise ExportFault(f"{setting}: {written} is not https, and the platform calls by nothing else. {fix}")
    plain = _PLAIN.fullmatch(host) and _PLAIN_PATH.fullmatch(parts.path)
    if not plain or parts.username is not None or parts.query or parts.fragment:
        raise ExportFault(f"{setting}: {written} is not an address of a server. {fix}")
    if not _is_public(host):
        raise ExportFault(
            f"{setting}: the platform cannot reach {host}, which is a name or address of an inner network. {fix}"
        )
    return Address(host if port in (None, 443) else f"{host}:{port}", parts.path.rstrip("/") or "/")


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global and ":" not in host  # host has no place for IPv6 in OpenAPI 2.0
    except ValueError:
        inner = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
        return "." in host.strip(".") and not host.endswith(inner)


def connector_of(document: Mapping[str, Any], address: Address, sign_in: SignIn, title: str) -> Connector:
    """The connector of this OpenAPI 3.1 document. Raises ExportFault where it would have no action."""
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
    told = [Loss("", own_title.told)] if own_title.told else []
    of_signing_in = [loss for loss in losses if not loss.where.startswith("/components/securitySchemes")]
    return Connector(definition, properties, (*told, *of_signing_in, *polish.losses))


class _Polish:
    """Operations and schemas with the names and sentences that the platform shows."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []

    def item(self, path: str, item: Mapping[str, Any]) -> Json:
        """The operations of one path. Where there are several, each name ends with its method, or one could not tell
        them apart."""
        methods = [method for method in item if method in METHODS]
        return {
            method: self._operation(
                item[method], path, at("", "paths", path, method), method if len(methods) > 1 else ""
            )
            for method in methods
        }

    def schema(self, schema: Mapping[str, Any], where: str, name: str = "") -> Json:
        """A schema whose members have a name to be shown: the title that its author gave, or its own name in words.
        `name` is the member that it describes."""
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
        """The name that is shown: that which is wanted by the rules, or the other where nothing is left of it."""
        mended = summary_of(wanted or otherwise, end)
        if mended.told:
            self.losses.append(Loss(where, mended.told))
        return mended.text or otherwise

    def _operation(self, operation: Mapping[str, Any], path: str, where: str, method: str) -> Json:
        name = path.split("/")[2]
        end = f" by {method.upper()}" if method else ""
        summary = self._summary(operation.get("summary"), words_of(name), where, end)
        return {
            "summary": summary,
            "description": description_of(operation.get("description", ""), summary, name),
            "operationId": operation_id_of(operation["operationId"]),
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
        fallback = "What the workflow is given." if parameter["in"] == "body" else f"The {words.lower()} that is meant."
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
            made["description"] = sentence_of(response["description"]) or "An answer."
            if "schema" in made:
                made["schema"] = self.schema(made["schema"], at(where, "responses", status, "schema"))
            yield status, made


def _written(content: Json) -> str:
    return json.dumps(content, indent=4, allow_nan=False) + "\n"
