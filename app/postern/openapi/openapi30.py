"""Converts OpenAPI 3.1 to OpenAPI 3.0, which Azure API Management and older tools read. Pure; every loss is reported.

OpenAPI 3.0.3: spec.openapis.org/oas/v3.0.3. Between the two only the schemas differ (`openapi30_schemas.py`).
"""

from collections.abc import Mapping
from typing import Any

from postern.openapi.conversion_loss import Loss, at
from postern.openapi.openapi30_schemas import Schemas30

Json = dict[str, Any]

VERSION = "3.0.3"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def openapi30_of(document: Mapping[str, Any]) -> tuple[Json, list[Loss]]:
    """The OpenAPI 3.0 form of the OpenAPI 3.1 document that Postern makes, and what was lost."""
    conversion = _Conversion()
    made = conversion.document(document)
    return made, conversion.schemas.losses


class _Conversion:
    def __init__(self) -> None:
        self.schemas = Schemas30()

    def document(self, document: Mapping[str, Any]) -> Json:
        components = {
            kind: {name: self._part(part, at("", "components", kind, name), kind) for name, part in parts.items()}
            for kind, parts in document.get("components", {}).items()
        }
        paths = {path: self._item(item, at("", "paths", path)) for path, item in document["paths"].items()}
        return {**document, "openapi": VERSION, "paths": paths, "components": components}

    def _item(self, item: Mapping[str, Any], where: str) -> Json:
        return {
            key: self._operation(value, at(where, key))
            if key in METHODS
            else self._list(value, at(where, key))
            if key == "parameters"
            else value
            for key, value in item.items()
        }

    def _operation(self, operation: Mapping[str, Any], where: str) -> Json:
        made = dict(operation)
        if "parameters" in made:
            made["parameters"] = self._list(made["parameters"], at(where, "parameters"))
        if "requestBody" in made:
            made["requestBody"] = self._part(made["requestBody"], at(where, "requestBody"), "requestBodies")
        made["responses"] = {
            status: self._part(response, at(where, "responses", status), "responses")
            for status, response in operation["responses"].items()
        }
        return made

    def _list(self, parameters: list[Json], where: str) -> list[Json]:
        return [self._part(each, at(where, n), "parameters") for n, each in enumerate(parameters)]

    def _part(self, part: Json, where: str, kind: str) -> Json:
        """A component, or a part of an operation of that kind: wherever it has a schema, that is converted."""
        if kind == "schemas":
            return self.schemas.convert(part, where)
        if kind == "securitySchemes" or "$ref" in part:
            return part
        made = dict(part)
        if "schema" in made:
            made["schema"] = self.schemas.convert(made["schema"], at(where, "schema"))
        for holder in ("content", "headers"):
            if holder in made:
                made[holder] = {
                    name: self._part(each, at(where, holder, name), holder) for name, each in made[holder].items()
                }
        return made
