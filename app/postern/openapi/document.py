"""The OpenAPI 3.1 document of a catalog: a path for each trigger, with its request, its response and its access mode.

It names a trigger's access mode and the scope to request, never who is allowed.
Source: OpenAPI Specification 3.1.1; RFC 9457; Microsoft, "OAuth 2.0 authorization code flow" and "client credentials".
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from pydantic_core import to_json

from postern.access import Guarded, SenderSignature, default_scope
from postern.authoring.signature import BodyParameter, PathParameter, RequestParameter
from postern.catalog import Trigger
from postern.openapi.examples import Examples
from postern.openapi.file_examples import as_sent, with_files
from postern.openapi.media import content_schema, media_types_of
from postern.openapi.operations import Operation, conditions_of, operations, pascal
from postern.openapi.problems import (
    HEADERS,
    OTHER,
    PROBLEM_SCHEMA,
    by_status,
    codes_of,
    other_response,
    response,
)
from postern.openapi.problems import response_name as name_of
from postern.openapi.schemas import BODY, PROBLEM, RESULT, Schemas, reachable, replies, result_type, schemas_of
from postern.settings.installation import Installation

Json = dict[str, Any]

ABOUT = (
    "Each path is a workflow that runs when it is called. Errors are problem documents (RFC 9457); a request that is "
    "not well-formed HTTP, or too large or too slow for the server, gets one too."
)

IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key of your choice. A request that is sent again with it runs once and gets the same reply.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N` waits up to N seconds for the result, at most 60 (RFC 7240). Else the reply is 202.",
    "schema": {"type": "string"},
}

ACCEPTED = "Accepted"
"""The schema of a 202."""

ACCEPTED_SCHEMA: Json = {
    "title": "Accepted",
    "description": "A run that is accepted, and has no result yet.",
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string", "description": "The id of the run."},
        "state": {"type": "string", "enum": ["Waiting", "Running"], "description": "The state of the run."},
    },
}

LOCATION: Json = {
    "description": "Where the result of the run is: ask again after Retry-After seconds, until the status is not 202.",
    "schema": {"type": "string", "format": "uri-reference"},
}
PREFERENCE_APPLIED: Json = {"description": "What of Prefer was honoured.", "schema": {"type": "string"}}
RESULT_IN_TIME = "The result of the workflow: at the Location of the 202, or here if it comes within `Prefer: wait=N`."

SIGNED_URL = "signedUrl"
"""The security scheme of a trigger with signed URLs."""

OF_A_SIGNED_URL = "The last parameter of a signed URL, which an operator makes. Send the URL's query as it was printed."


SIGNED_BY = "signedBy"
"""The security schemes of triggers whose sender signs begin with this."""


def signed_by(way: SenderSignature) -> str:
    """The security scheme of a signature: `signedByXHubSignature256`."""
    return f"{SIGNED_BY}{pascal(way.header)}"


def _scheme(way: SenderSignature) -> Json:
    form = f", after {way.prefix}" if way.prefix else ""
    about = f"The sender's signature of the body: an HMAC with {way.algorithm.upper()} in {way.encoding}{form}."
    return {"type": "apiKey", "in": "header", "name": way.header, "description": about}


class Described:
    """A catalog's operations and schemas, made once. `document` selects those that a caller may see."""

    def __init__(self, triggers: Mapping[str, Trigger], installation: Installation) -> None:
        self._installation = installation
        self._operations = operations(triggers)
        self._schemas = schemas_of(self._operations)
        self._examples = Examples(self._schemas.components)

    def document(self, names: Collection[str] | None = None) -> Json:
        """The OpenAPI document of the workflows with these names, or of all of them if None."""
        shown = [each for each in self._operations if names is None or each.workflow.name in names]
        paths: Json = {}
        for operation in shown:
            paths.setdefault(operation.path, {})[operation.method.lower()] = self._operation(operation)
        components = self._components(shown, paths)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": self._installation.title,
                "version": _version(paths, components),
                "description": ABOUT,
            },
            "servers": [{"url": self._installation.server_url}],
            "paths": paths,
            "components": components,
        }

    def _operation(self, operation: Operation) -> Json:
        workflow = operation.workflow
        made: Json = {
            "operationId": operation.id,
            "summary": operation.summary,
            "description": operation.description,
            "x-postern-access": workflow.access.mode,
        }
        if conditions := conditions_of(workflow.access, networks=bool(workflow.networks)):
            made["x-postern-asks"] = conditions
        if operation.tool:
            made["x-postern-tool"] = operation.tool
        made["parameters"] = self._parameters(operation)
        if workflow.body is not None:
            schema = self._schemas.of(workflow, BODY)
            media = {"schema": schema, **self._example_body(workflow.body, schema)}
            made["requestBody"] = {
                "required": workflow.body.required and workflow.body.adapter is not None,
                "content": dict.fromkeys(media_types_of(workflow.body), media),
            }
        made["responses"] = _responses(operation, self._schemas)
        made["security"] = [{"entra": [scope]} for scope in self._scopes(operation)]
        if operation.by_signed_url:
            made["security"] = [{SIGNED_URL: []}]
        if operation.sender is not None:
            made["security"] = [{signed_by(operation.sender): []}]
        return made

    def _parameters(self, operation: Operation) -> list[Json]:
        typed = {parameter.name: parameter for parameter in operation.workflow.path_parameters}
        schemas = {
            name: self._schemas.of(operation.workflow, name) if name in typed else {"type": "string"}
            for name in operation.path_names
        }
        in_path = [
            {
                "name": name,
                "in": "path",
                "required": True,
                **_described(schema),
                "schema": schema,
                **self._example_part(typed.get(name), schema),
            }
            for name, schema in schemas.items()
        ]
        requested = [self._requested(operation, each) for each in operation.workflow.parameters]
        named = ["IdempotencyKey"] if operation.recorded else []
        named += ["Prefer"] if operation.later else []
        return [*in_path, *requested, *({"$ref": f"#/components/parameters/{name}"} for name in named)]

    def _requested(self, operation: Operation, parameter: RequestParameter) -> Json:
        """A parameter of the query or a header field. A list in the query has its name several times, and in a header
        commas."""
        schema = self._schemas.of(operation.workflow, parameter.name)
        several = {"explode": parameter.place == "query"} if parameter.shape.several else {}
        return {
            "name": parameter.sent,
            "in": parameter.place,
            "required": parameter.required,
            **_described(schema),
            **several,
            "schema": schema,
            **self._example_part(parameter, schema),
        }

    def _example_body(self, parameter: BodyParameter, schema: Json) -> Json:
        """An example that the workflow accepts: its own types and validators were asked. Nothing if there is none."""
        value = self._examples.example(schema)
        try:
            if parameter.form is not None and parameter.form.files and parameter.validators is not None:
                value = with_files(value, parameter.form)
                parameter.validators.usual.validate_values(as_sent(value, parameter.form))
            elif parameter.adapter is not None:
                parameter.adapter.validator.validate_json(to_json(value))
        except Exception:  # an author's validator may raise anything
            return {}
        return {"example": value}

    def _example_part(self, parameter: PathParameter | RequestParameter | None, schema: Json) -> Json:
        """The same for a part of the path, the query or the header."""
        value = self._examples.example(schema)
        if isinstance(value, list | dict):
            return {}
        text = value if isinstance(value, str) else to_json(value).decode()
        try:
            if parameter is not None:
                parameter.adapter.validate_strings(text)
        except Exception:
            return {}
        ambiguous = text in ("", ".", "..") or "/" in text or "\\" in text  # no trigger is at such a URL
        return {} if ambiguous else {"example": value}

    def _scopes(self, operation: Operation) -> list[str]:
        """The scopes to request, one of which is enough. The installation's own audiences come first, in their
        order."""
        policy = operation.trigger.policy
        if not isinstance(policy, Guarded):
            return []
        own = [audience for audience in self._installation.audiences if audience in policy.audiences]
        return [default_scope(audience) for audience in (*own, *sorted(policy.audiences - set(own)))]

    def _components(self, shown: list[Operation], paths: Json) -> Json:
        sets = {codes for each in shown for codes in by_status(codes_of(each)).values()}
        responses = {name_of(codes): response(codes) for codes in sorted(sets)}
        components: Json = {
            "schemas": {PROBLEM: PROBLEM_SCHEMA} | reachable([paths], self._schemas.components),
            "responses": responses | {OTHER: other_response()},
            "headers": dict(HEADERS),
            "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
        }
        if any(each.later for each in shown):
            components["parameters"]["Prefer"] = PREFER
            components["headers"] |= {"Location": LOCATION, "Preference-Applied": PREFERENCE_APPLIED}
            components["schemas"][ACCEPTED] = ACCEPTED_SCHEMA
        scopes = list(dict.fromkeys(scope for each in shown for scope in self._scopes(each)))
        schemes = {"entra": entra(self._installation, scopes)} if scopes else {}
        if any(each.by_signed_url for each in shown):
            schemes[SIGNED_URL] = {"type": "apiKey", "in": "query", "name": "sig", "description": OF_A_SIGNED_URL}
        schemes |= {signed_by(each.sender): _scheme(each.sender) for each in shown if each.sender is not None}
        if schemes:
            components["securitySchemes"] = schemes
        return components


def openapi_document(triggers: Mapping[str, Trigger], installation: Installation) -> Json:
    """The document of all these triggers, as JSON values."""
    return Described(triggers, installation).document()


def entra(installation: Installation, scopes: list[str]) -> Json:
    """Microsoft Entra as a security scheme: authorization code for people, client credentials for applications."""
    place = f"{installation.authority}/{installation.tenant_id or 'organizations'}/oauth2/v2.0"
    named = dict.fromkeys(scopes, "Call the workflows that the caller may use.")
    return {
        "type": "oauth2",
        "description": "An access token of Microsoft Entra, as a Bearer token (RFC 6750).",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": f"{place}/authorize",
                "tokenUrl": f"{place}/token",
                "scopes": named,
            },
            "clientCredentials": {"tokenUrl": f"{place}/token", "scopes": named},
        },
    }


def _described(schema: Json) -> Json:
    """The author's description of a value, if there is one beyond its type."""
    return {"description": schema["description"]} if "description" in schema else {}


def _responses(operation: Operation, schemas: Schemas) -> Json:
    """The result, then the problems by status, then any other problem."""
    workflow = operation.workflow
    content = {"application/json": {"schema": schemas.of(workflow, RESULT)}}
    if workflow.produces:
        content = {workflow.produces: {"schema": content_schema(workflow.produces)}}
    what = RESULT_IN_TIME if operation.later else "The result of the workflow."
    made: Json = {"200": _with_run_id({"description": what, "content": content}, operation)}
    if operation.later:
        made["202"] = _accepted()
    if replies(result_type(workflow)):
        made["2XX"] = _with_run_id({"description": "A result with a status that the workflow chooses."}, operation)
    for status, codes in by_status(codes_of(operation)).items():
        made[str(status)] = {"$ref": f"#/components/responses/{name_of(codes)}"}
    made["default"] = {"$ref": f"#/components/responses/{OTHER}"}
    return made


def _accepted() -> Json:
    """The reply of a durable workflow: the run is accepted."""
    names = ("X-Run-Id", "Location", "Retry-After", "Preference-Applied")
    return {
        "description": "The run is accepted. Its result is at Location: 202 until there is one.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ACCEPTED}"}}},
    }


def _with_run_id(response: Json, operation: Operation) -> Json:
    if operation.recorded:
        response["headers"] = {"X-Run-Id": {"$ref": "#/components/headers/X-Run-Id"}}
    return response


def _version(paths: Json, components: Json) -> str:
    """A version that changes when any described part changes."""
    return "1.0.0+" + sha256(to_json([paths, components])).hexdigest()[:12]
