"""One schema as a whole document, and back."""

from typing import Any

Json = dict[str, Any]


def document_of(schema: Json) -> Json:
    """A document whose one operation takes a body like this. `$defs` of pydantic are its components."""
    content = {"application/json": {"schema": {key: part for key, part in schema.items() if key != "$defs"}}}
    operation = {
        "operationId": "Try",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "Done.", "content": content}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tried", "version": "1"},
        "paths": {"/try": {"post": operation}},
        "components": {"schemas": schema.get("$defs", {})},
    }


def body_of(swagger: Json) -> Json:
    found: Json = swagger["paths"]["/try"]["post"]["parameters"][0]["schema"]
    return found
