"""Converts OpenAPI 3.1 to OpenAPI 2.0, the only version that Power Platform reads. Pure; every loss is reported.

OpenAPI 2.0: swagger.io/specification/v2. It has one body, which is a parameter. It has no ranges of statuses, only
parameters of plain types, and one flow for each security scheme.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from postern.openapi.conversion_loss import Loss, at
from postern.openapi.swagger_schemas import DEFINITIONS, SwaggerSchemas

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
METHODS = ("get", "post", "put", "patch", "delete")

_PLAIN = ("string", "number", "integer", "boolean")
_OF_PARAMETERS = (
    *("type", "format", "enum", "default", "pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum"),
    *("exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
)
_OF_INFO = ("title", "description", "termsOfService", "contact", "license", "version")


def swagger_of(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[Loss]]:
    """The OpenAPI 2.0 form of an OpenAPI 3.1 document, and what was lost."""
    conversion = _Conversion(document)
    made = conversion.swagger()
    return made, [*conversion.losses, *conversion.schemas.losses]


class _Conversion:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.losses: list[Loss] = []
        self.schemas = SwaggerSchemas(document.get("components", {}).get("schemas", {}))

    def swagger(self) -> dict[str, Any]:
        info = self.document["info"]
        items = {path: self._item(path, item) for path, item in self.document["paths"].items()}
        paths = {path: item for path, item in items.items() if item}
        made: dict[str, Any] = {
            "swagger": "2.0",
            "info": {name: info[name] for name in _OF_INFO if name in info},
            "consumes": [JSON],
            "produces": [JSON],
            "paths": paths,
            "definitions": _needed(paths, self.schemas.definitions),
        }
        if security := self._security_definitions():
            made["securityDefinitions"] = security
        if "security" in self.document:
            made["security"] = deepcopy(self.document["security"])
        return made

    def _lose(self, where: str, what: str) -> None:
        self.losses.append(Loss(where, what))

    def _resolved(self, part: Mapping[str, Any], kind: str) -> tuple[Mapping[str, Any], str]:
        """A part that may be a reference to a component, and the component's place ("" if it is not a reference)."""
        reference = part.get("$ref", "")
        if not reference:
            return part, ""
        name = reference.removeprefix(f"#/components/{kind}/")
        return self.document.get("components", {}).get(kind, {}).get(name, {}), at("", "components", kind, name)

    # Operations

    def _item(self, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        made = {}
        for method, operation in item.items():
            where = at("", "paths", path, method)
            if method in METHODS:
                if converted := self._operation(method, operation, where):
                    shared = self._parameters(item, at("", "paths", path))
                    made[method] = converted | {"parameters": [*shared, *converted["parameters"]]}
            elif method not in ("parameters", "summary", "description"):
                self._lose(where, f"{method!r} cannot be expressed, and is omitted.")
        return made

    def _operation(self, method: str, operation: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        """The operation, or None if callers could not use it without the parts that are lost."""
        form = self._form(operation.get("requestBody"), where)
        body = None if form else self._body(operation.get("requestBody"), where)
        if body is not None and method == "get":
            if body["required"]:
                self._lose(
                    where, "A GET has no body in OpenAPI 2.0, and this one requires one: the operation is omitted."
                )
                return None
            self._lose(at(where, "requestBody"), "A GET has no body in OpenAPI 2.0: it is omitted.")
            body = None
        made = {
            name: operation[name] for name in ("summary", "description", "operationId", "tags") if name in operation
        }
        made |= {name: value for name, value in operation.items() if name.startswith("x-")}
        made["parameters"] = [*self._parameters(operation, where), *([body] if body else []), *form]
        if form:
            made["consumes"] = [next(iter(operation["requestBody"]["content"]))]
        made["responses"] = self._responses(operation.get("responses", {}), where)
        if produced := _produced(operation.get("responses", {})):
            made["produces"] = [produced, PROBLEM_JSON]
        if "security" in operation:
            made["security"] = deepcopy(operation["security"])
        return made

    def _parameters(self, holder: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
        """The parameters of an operation, or those that the operations of a path share."""
        given = holder.get("parameters", [])
        found = [self._parameter(part, at(where, "parameters", n)) for n, part in enumerate(given)]
        return [part for part in found if part is not None]

    def _parameter(self, part: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        """A parameter in the path, the query or a header: of a plain type, or an array of one."""
        given, elsewhere = self._resolved(part, "parameters")
        where = elsewhere or where
        place = given.get("in")
        if place not in ("path", "query", "header"):
            self._lose(where, "A parameter outside of the path, the query and the headers cannot be expressed.")
            return None
        made: dict[str, Any] = {"name": given["name"], "in": place, "required": bool(given.get("required", False))}
        if "description" in given:
            made["description"] = given["description"]
        made |= self._plain(given.get("schema", {}), at(where, "schema"), place)
        if place == "path":
            made |= {"required": True, "x-ms-url-encoding": "single"}
            made.pop("default", None)
        return made | {name: value for name, value in given.items() if name.startswith("x-")}

    def _plain(self, schema: Mapping[str, Any], where: str, place: str) -> dict[str, Any]:
        """The members of a parameter that describe its type."""
        converted = self.schemas.resolved(self.schemas.convert(schema, where))
        made = {name: deepcopy(converted[name]) for name in _OF_PARAMETERS if name in converted}
        if made.get("type") == "array" and place == "query":
            items = self.schemas.resolved(converted.get("items", {}))
            made["items"] = {name: items[name] for name in _OF_PARAMETERS if name in items}
            made["collectionFormat"] = "multi"
            if made["items"].get("type") in _PLAIN:
                return made
        if made.get("type") not in _PLAIN:
            self._lose(where, "A parameter of this type cannot be expressed: it becomes a string.")
            return {"type": "string"}
        return made

    def _form(self, part: Mapping[str, Any] | None, where: str) -> list[dict[str, Any]]:
        """The fields of a form, which are parameters in OpenAPI 2.0; [] if the body is none."""
        given, elsewhere = self._resolved(part or {}, "requestBodies")
        content = given.get("content", {})
        media_type = next((each for each in FORMS if each in content), None)
        if media_type is None:
            return []
        there = at(elsewhere or at(where, "requestBody"), "content", media_type, "schema")
        schema = self._whole(content[media_type].get("schema", {}))
        required = schema.get("required", []) if given.get("required") else []
        return [
            self._field(name, each, at(there, "properties", name), required=name in required)
            for name, each in schema.get("properties", {}).items()
        ]

    def _field(self, name: str, schema: Mapping[str, Any], where: str, *, required: bool) -> dict[str, Any]:
        made: dict[str, Any] = {"name": name, "in": "formData", "required": required}
        whole = self._whole(schema)
        if "description" in whole:
            made["description"] = whole["description"]
        choices = [self._whole(each) for each in whole.get("anyOf", [whole])]
        if any(each.get("format") == "binary" for each in choices):
            return made | {"type": "file"}
        if any(self._whole(each.get("items", {})).get("format") == "binary" for each in choices):
            self._lose(where, "Several files under one name cannot be expressed: it becomes a single file.")
            return made | {"type": "file"}
        return made | self._plain(schema, where, "query")

    def _whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """A schema that may be a reference to a component."""
        found: Mapping[str, Any] = self._resolved(schema, "schemas")[0]
        return found

    def _body(self, part: Mapping[str, Any] | None, where: str) -> dict[str, Any] | None:
        if part is None:
            return None
        given, elsewhere = self._resolved(part, "requestBodies")
        where = elsewhere or at(where, "requestBody")
        content = given.get("content", {})
        self._lose_media(content, at(where, "content"))
        if JSON not in content:
            return None
        made: dict[str, Any] = {"name": "body", "in": "body", "required": bool(given.get("required", False))}
        if "description" in given:
            made["description"] = given["description"]
        made["schema"] = self.schemas.convert(content[JSON].get("schema", {}), at(where, "content", JSON, "schema"))
        return made

    def _lose_media(self, content: Mapping[str, Any], where: str) -> None:
        for media_type in content:
            if not _is_json(media_type):
                self._lose(at(where, media_type), "Only JSON can be expressed.")

    # Responses

    def _responses(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The single statuses, and `default` for the ranges of errors, which are all the same problem."""
        made: dict[str, Any] = {}
        ranged: list[dict[str, Any]] = []
        for status, part in given.items():
            response, elsewhere = self._resolved(part, "responses")
            converted = self._response(response, elsewhere or at(where, "responses", status))
            if status.isdigit():
                made[status] = converted
            elif status.upper() == "2XX":
                made.setdefault("200", converted)
            else:
                ranged.append(converted)
        if not any(status.startswith("2") for status in made):
            made["200"] = {"description": "The result.", "schema": {}}
        made = dict(sorted(made.items()))
        if ranged:
            made["default"] = ranged[-1] if len({json.dumps(one.get("schema")) for one in ranged}) > 1 else ranged[0]
            if made["default"] is ranged[-1] and len(ranged) > 1:
                self._lose(at(where, "responses"), "Ranges of statuses cannot be distinguished.")
        return made

    def _response(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        made: dict[str, Any] = {"description": given.get("description", "")}
        content = given.get("content", {})
        media_type = next(filter(_is_json, content), None)
        if media_type is not None:
            self._lose_media(content, at(where, "content"))
        if media_type is not None:
            there = at(where, "content", media_type, "schema")
            made["schema"] = self.schemas.convert(content[media_type].get("schema", {}), there)
        elif content:  # bytes or text of another type, which are named by `produces`
            made["schema"] = {"type": "string", "format": "binary"}
        headers = dict(self._headers(given.get("headers", {}), at(where, "headers")))
        if headers:
            made["headers"] = headers
        return made

    def _headers(self, given: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, part in given.items():
            header, elsewhere = self._resolved(part, "headers")
            made = self._plain(header.get("schema", {}), at(elsewhere or at(where, name), "schema"), "header")
            yield name, made | ({"description": header["description"]} if "description" in header else {})

    # Signing in

    def _security_definitions(self) -> dict[str, Any]:
        made = {}
        for name, scheme in self.document.get("components", {}).get("securitySchemes", {}).items():
            converted = self._scheme(scheme, at("", "components", "securitySchemes", name))
            if converted:
                made[name] = converted
        return made

    def _scheme(self, scheme: Mapping[str, Any], where: str) -> dict[str, Any] | None:
        """The scheme with one flow: people's before applications', which the platform does not support."""
        described = {"description": scheme["description"]} if "description" in scheme else {}
        kind = scheme.get("type")
        if kind == "apiKey" and scheme.get("in") in ("header", "query"):
            return {"type": "apiKey", "name": scheme["name"], "in": scheme["in"], **described}
        if kind == "http" and scheme.get("scheme", "").lower() == "basic":
            return {"type": "basic", **described}
        flows = scheme.get("flows", {})
        names = [name for name in ("authorizationCode", "clientCredentials") if name in flows]
        if kind != "oauth2" or not names:
            self._lose(where, "This security scheme cannot be expressed.")
            return None
        for name in flows:
            if name != names[0]:
                self._lose(
                    at(where, "flows", name), "A security scheme has one flow in OpenAPI 2.0: this one is omitted."
                )
        flow = flows[names[0]]
        made = {"type": "oauth2", "flow": "accessCode" if names[0] == "authorizationCode" else "application"}
        if names[0] == "authorizationCode":
            made["authorizationUrl"] = flow["authorizationUrl"]
        return {**made, "tokenUrl": flow["tokenUrl"], "scopes": dict(flow.get("scopes", {})), **described}


def _is_json(media_type: str) -> bool:
    return media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json"))


def _produced(responses: Mapping[str, Any]) -> str:
    """The media type of the result if it is not JSON."""
    content = responses.get("200", {}).get("content", {})
    return "" if not content or any(map(_is_json, content)) else str(next(iter(content)))


def _needed(paths: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that the paths refer to, directly or through others, by name."""
    found: set[str] = set()
    waiting = [paths]
    while waiting:
        for name in set(_referred(waiting.pop())) - found:
            found.add(name)
            waiting.append(definitions[name])
    return {name: definitions[name] for name in sorted(found)}


def _referred(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith(DEFINITIONS):
            yield reference.removeprefix(DEFINITIONS)
    for inside in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _referred(inside)
