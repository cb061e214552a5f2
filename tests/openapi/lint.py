"""The rules of custom connectors as checks: each gives the places that break it.

Sources: "strings" is learn.microsoft.com/connectors/custom-connectors/connector-string-guidance, "coding" the page
coding-standards beside it, "definition" and "properties" are apiDefinition.swagger.schema.json and
paconn-apiProperties.schema.json of github.com/microsoft/PowerPlatformConnectors, schemas/ (October 2024), whose rules
are said here in our own words.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

SCHEMA_KEYS = {
    *("$ref", "format", "title", "description", "default", "multipleOf", "maximum", "exclusiveMaximum", "minimum"),
    *("exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxProperties"),
    *("minProperties", "required", "enum", "additionalProperties", "type", "items", "properties", "readOnly"),
    *("example", "x-ms-summary", "x-ms-visibility", "x-nullable"),
}
FORMATS = {
    *("int32", "int64", "float", "double", "byte", "binary", "date", "date-time", "password", "date-no-tz", "email"),
    *("html", "uri", "uuid"),
}
ORDER = [
    *("swagger", "info", "host", "basePath", "schemes", "consumes", "produces", "paths", "definitions", "parameters"),
    *("responses", "securityDefinitions", "security", "tags", "x-ms-connector-metadata"),
]
PRODUCTS = r"power ?(apps|automate|bi|pages|platform)|logic apps|copilot|dataverse|microsoft flow"


def operations(definition: Json) -> Iterator[tuple[str, Json]]:
    for path, item in definition["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


def parameters(definition: Json) -> Iterator[tuple[str, Json]]:
    for place, operation in operations(definition):
        for parameter in operation["parameters"]:
            yield f"{place} {parameter['name']}", parameter


def schemas(definition: Json) -> Iterator[tuple[str, Json]]:
    for name, schema in definition["definitions"].items():
        yield from _inside(f"definition {name}", schema)
    for place, parameter in parameters(definition):
        if "schema" in parameter:
            yield from _inside(place, parameter["schema"])
    for place, operation in operations(definition):
        for status, response in operation["responses"].items():
            yield from _inside(f"{place} {status}", response.get("schema", {}))


def _inside(place: str, schema: Json) -> Iterator[tuple[str, Json]]:
    yield place, schema
    for name, part in schema.get("properties", {}).items():
        yield from _inside(f"{place}.{name}", part)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _inside(f"{place}[{key}]", schema[key])


def _title(definition: Json) -> Iterator[str]:
    title = definition["info"]["title"]
    if not 0 < len(title) <= 30 or re.search(rf"\b(api|connector)\b|{PRODUCTS}", title, re.IGNORECASE):
        yield title


def _description(definition: Json) -> Iterator[str]:
    text = definition["info"]["description"]
    if not 30 <= len(text) <= 500 or re.search(rf"\bapi\b|{PRODUCTS}", text, re.IGNORECASE):
        yield text


def _contact(definition: Json) -> Iterator[str]:
    if not {"name", "url"} <= definition["info"]["contact"].keys():
        yield "info"


def _summaries(definition: Json) -> Iterator[str]:
    for place, operation in operations(definition):
        summary = operation["summary"]
        good = 0 < len(summary) <= 80 and _is_clean(summary) and summary[-1].isalnum() and not summary[0].islower()
        if not good or summary == operation["description"].rstrip("."):
            yield f"{place}: {summary}"


def _is_clean(summary: str) -> bool:
    return not set(summary) & set("/\\<>*%&?")


def _sentences(definition: Json) -> Iterator[str]:
    described = [*operations(definition), *parameters(definition)]
    for place, part in [*described, *((place, one) for place, one in schemas(definition) if "description" in one)]:
        if not re.search(r"[.!?。]$", part.get("description", "")):
            yield f"{place}: {part.get('description')}"


def _operation_ids(definition: Json) -> Iterator[str]:
    ids = [operation["operationId"] for _, operation in operations(definition)]
    yield from (each for each in ids if not re.fullmatch(r"[A-Z0-9][A-Za-z0-9]*", each) or ids.count(each) > 1)


def _responses(definition: Json) -> Iterator[str]:
    for place, operation in operations(definition):
        fine = [one for status, one in operation["responses"].items() if status.startswith("2") and "schema" in one]
        if not fine or any(not re.fullmatch(r"\d{3}|default", status) for status in operation["responses"]):
            yield place


def _schema_keys(definition: Json) -> Iterator[str]:
    for place, schema in schemas(definition):
        if schema.keys() - SCHEMA_KEYS or ("$ref" in schema and len(schema) > 1):
            yield f"{place}: {sorted(schema)}"


def _schema_values(definition: Json) -> Iterator[str]:
    for place, schema in schemas(definition):
        if isinstance(schema.get("type", ""), list) or schema.get("format", "uuid") not in FORMATS:
            yield place
        if schema.get("type") == "array" and "items" not in schema:
            yield place
        if any(not isinstance(schema.get(f"exclusive{bound}", True), bool) for bound in ("Minimum", "Maximum")):
            yield place


def _shown_names(definition: Json) -> Iterator[str]:
    for place, parameter in parameters(definition):
        if not parameter.get("x-ms-summary") or not _is_clean(parameter["x-ms-summary"]):
            yield place
    for place, schema in schemas(definition):
        for name, part in schema.get("properties", {}).items():
            if "$ref" not in part and not (part.get("x-ms-summary") and _is_clean(part["x-ms-summary"])):
                yield f"{place}.{name}"


def _visibility(definition: Json) -> Iterator[str]:
    for place, part in [*parameters(definition), *schemas(definition)]:
        visibility = part.get("x-ms-visibility", "important")
        internal = visibility == "internal" and part.get("required") is True and "default" not in part
        if visibility not in ("important", "advanced", "internal") or internal:
            yield place


def _plain_parameters(definition: Json) -> Iterator[str]:
    for place, parameter in parameters(definition):
        if parameter["in"] == "body":
            if parameter["name"] != "body":
                yield place
        elif parameter["in"] == "formData" and parameter["type"] == "file":
            pass  # files are in forms only
        elif parameter["type"] not in ("string", "number", "integer", "boolean", "array"):
            yield place
        if parameter["in"] == "path" and not (parameter["required"] and parameter["x-ms-url-encoding"] == "single"):
            yield place


def _cycles(definition: Json) -> Iterator[str]:
    """References that lead back to where they began, or nowhere."""
    leads = {name: set(_references(schema)) for name, schema in definition["definitions"].items()}
    yield from (f"nowhere: {each}" for each in set(_references(definition)) - leads.keys())
    while free := {name for name, targets in leads.items() if not targets & leads.keys()}:
        leads = {name: targets for name, targets in leads.items() if name not in free}
    yield from leads


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].removeprefix("#/definitions/")
        for inside in part.values():
            yield from _references(inside)
    elif isinstance(part, list):
        for inside in part:
            yield from _references(inside)


def _definition_names(definition: Json) -> Iterator[str]:
    yield from (name for name in definition["definitions"] if not re.fullmatch(r"[A-Za-z0-9_]+", name))


def _address(definition: Json) -> Iterator[str]:
    if definition["schemes"] != ["https"] or not re.fullmatch(r"[^{}/ :\\]+(:\d+)?", definition["host"]):
        yield definition["host"]
    if not definition["basePath"].startswith("/"):
        yield definition["basePath"]


def _security(definition: Json) -> Iterator[str]:
    known = definition["securityDefinitions"]
    yield from (str(each) for each in definition["security"] if not each.keys() <= known.keys())
    for name, scheme in known.items():
        if (scheme["type"], scheme.get("flow")) not in (("oauth2", "accessCode"), ("apiKey", None), ("basic", None)):
            yield name


def _order(definition: Json) -> Iterator[str]:
    if list(definition) != [name for name in ORDER if name in definition]:
        yield ", ".join(definition)


def _metadata(definition: Json) -> Iterator[str]:
    given = {each["propertyName"] for each in definition["x-ms-connector-metadata"]}
    yield from {"Website", "Privacy policy", "Categories"} - given


def _property_names(properties: Json) -> Iterator[str]:
    inner = properties["properties"]
    known = {"connectionParameters", "iconBrandColor", "capabilities", "publisher", "stackOwner"}
    yield from inner.keys() - known - {"policyTemplateInstances"}
    yield from {"iconBrandColor"} - inner.keys()
    yield from (name for name in inner["connectionParameters"] if not re.fullmatch(r"\w+(:\w+)?", name))


def _typed_in(properties: Json) -> Iterator[str]:
    """What a maker of a connection types in is hidden, and is never filled in."""
    for name, parameter in properties["properties"]["connectionParameters"].items():
        if parameter["type"] == "securestring" and "defaultValue" in parameter:
            yield name
        if name in ("api_key", "password") and parameter["uiDefinition"]["constraints"]["clearText"]:
            yield name


def _settings(properties: Json) -> Json:
    token = properties["properties"]["connectionParameters"].get("token", {})
    found: Json = token.get("oAuthSettings", {})
    return found


def _redirect_mode(properties: Json) -> Iterator[str]:
    if _settings(properties).get("redirectMode", "Global") not in ("Global", "Direct"):
        yield "redirectMode"


def _custom_parameters(properties: Json) -> Iterator[str]:
    yield from _settings(properties).get("customParameters", {}).keys() - {"resourceUri", "loginUri", "tenantId"}


class Rule(NamedTuple):
    """`breaches` gives what breaks the rule, in the file of that name."""

    rule: str
    source: str
    breaches: Callable[[Json], Iterator[str]]


DEFINITION_RULES = (
    Rule("title: 30 characters, no API, Connector or product", "strings", _title),
    Rule("description: 30 to 500 characters, no API or product", "strings", _description),
    Rule("contact with name and url", "coding", _contact),
    Rule(
        "summary: 80 characters, sentence case, none of / \\ < > * % & ?, no mark at the end, not the description",
        "strings",
        _summaries,
    ),
    Rule("descriptions are there, and end like sentences", "coding", _sentences),
    Rule("operationId in Pascal case, unique", "coding", _operation_ids),
    Rule("a 2xx response with a schema besides default", "coding", _responses),
    Rule("schemas of known keywords, references alone", "definition", _schema_keys),
    Rule("one type, known formats, items of arrays, Boolean exclusive bounds", "definition", _schema_values),
    Rule("x-ms-summary for every parameter and member", "strings", _shown_names),
    Rule("x-ms-visibility of three values, internal and required with a default", "definition", _visibility),
    Rule("parameters of plain types; the body is called body; paths encoded once", "definition", _plain_parameters),
    Rule("references lead somewhere, and never back", "coding", _cycles),
    Rule("names of definitions without special characters", "coding", _definition_names),
    Rule("https at a host with a base path", "definition", _address),
    Rule("security by authorization code, key or password", "definition", _security),
    Rule("members in the customary order", "coding", _order),
    Rule("metadata: website, privacy policy, categories", "coding", _metadata),
)
PROPERTIES_RULES = (
    Rule("members of apiProperties.json", "properties", _property_names),
    Rule("secrets are typed in, hidden and empty", "properties", _typed_in),
    Rule("redirect mode is Global or Direct", "properties", _redirect_mode),
    Rule("custom parameters of Entra are three", "properties", _custom_parameters),
)
EXCEPTIONS = {
    # The published schema is older than the redirect URL of each connector's own, which new ones get.
    "redirectMode",
    # Real connectors have it, as the portal writes it: sign-in is by the person, never on behalf of one.
    "enableOnbehalfOfLogin",
    # Required when a connector is submitted for certification, which one for colleagues is not; there is none to name.
    "Privacy policy",
}


def breaches(definition: Json, properties: Json) -> list[str]:
    """What breaks a rule, but for the exceptions."""
    found = [(rule, each) for rule in DEFINITION_RULES for each in rule.breaches(definition)]
    found += [(rule, each) for rule in PROPERTIES_RULES for each in rule.breaches(properties)]
    return [f"{rule.rule} ({rule.source}): {each}" for rule, each in found if each not in EXCEPTIONS]
