"""What Power Platform does with a custom connector: it knows the connector's two files, and nothing else.

The tenant signs people in, like Entra: a token is for the resource that the files name, and the registration
of that resource decides whether it is one of version 1.0, for the resource as it was requested, or of version 2.0, for
its client id.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from httpx2 import Client, Response
from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from postern.local_tenant import LocalTenant
from postern.local_tenant.tokens import Version
from tests.process.commands import command

Json = dict[str, Any]


def export(folder: Path, environ: Mapping[str, str], *options: str) -> str:
    """Run `postern export connector`; what it said."""
    done = command(folder, "export", "connector", *options, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Platform:
    """A connector as it was imported. `server` stands where its host would lead: the one liberty that is taken."""

    def __init__(self, folder: Path, server: str) -> None:
        self.definition: Json = json.loads((folder / "apiDefinition.swagger.json").read_text())
        properties: Json = json.loads((folder / "apiProperties.json").read_text())["properties"]
        self.parameters: Json = properties["connectionParameters"]
        self.server = server
        self.actions = {
            operation["operationId"]: (method, path, operation)
            for path, item in self.definition["paths"].items()
            for method, operation in item.items()
        }

    def token(self, tenant: LocalTenant, who: str, version: Version, **more: Any) -> str:
        """Sign a person in, as the connection's settings say."""
        settings = self.parameters["token"]["oAuthSettings"]
        custom = {name: each["value"] for name, each in settings["customParameters"].items()}
        assert (settings["identityProvider"], custom["tenantId"]) == ("aad", tenant.tenant_id)
        assert custom["loginUri"] == tenant.authority
        resource = custom["resourceUri"]
        assert settings["properties"]["AzureActiveDirectoryResourceId"] == resource
        registered = next(app for app in tenant.applications.values() if app.identifier_uri == resource)
        audience = resource if version == 1 else registered.client_id
        return tenant.token(who, audience=audience, version=version, scopes=["Workflow.Run.User"], **more)

    def run(self, action: str, headers: Mapping[str, str], **given: Any) -> Response:
        """Run an action with inputs that its schemas allow; `given` are parameters by name."""
        method, path, operation = self.actions[action]
        sent = dict(headers)
        body = None
        for parameter in operation["parameters"]:
            value = given.get(parameter["name"], self.example(parameter.get("schema", parameter)))
            if parameter["in"] == "path":
                path = path.replace("{" + parameter["name"] + "}", quote(str(value), safe=""))
            elif parameter["in"] == "body" and parameter["required"]:
                body = value
        address = self.server + self.definition["basePath"].rstrip("/") + path
        with Client(trust_env=False, timeout=20) as client:
            return client.request(method.upper(), address, headers=sent, json=body)

    def bearer(self, token: str) -> dict[str, str]:
        """The header of a connection that has signed in."""
        return {"Authorization": f"Bearer {token}"}

    def example(self, schema: Json) -> Any:
        """The least that fits a schema."""
        if "$ref" in schema:
            schema = self.definition["definitions"][schema["$ref"].rpartition("/")[2]]
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("type") == "object":
            return {name: self.example(schema["properties"][name]) for name in schema.get("required", [])}
        plain: dict[str | None, Any] = {
            "integer": schema.get("minimum", 1),
            "number": schema.get("minimum", 1.0),
            "boolean": True,
            "array": [],
            "string": "x" * schema.get("minLength", 1),
        }
        return "2026-12-01T09:00:00Z" if schema.get("format") == "date-time" else plain.get(schema.get("type"))

    def check(self, action: str, answer: Response) -> None:
        """The answer is one of the definition's."""
        responses = self.actions[action][2]["responses"]
        reported = responses.get(str(answer.status_code)) or responses["200" if answer.is_success else "default"]
        Draft4Validator({"allOf": [reported["schema"]], "definitions": self.definition["definitions"]}).validate(
            answer.json()
        )
