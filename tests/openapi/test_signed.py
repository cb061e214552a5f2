"""Triggers whose requests are signed by their sender, in the documents."""

from copy import deepcopy
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from postern.openapi.docs_page import BY_SENDER, shown_operations
from postern.openapi.document import openapi_document
from tests.openapi.catalogs import HERE, triggers_of

MODULE = """
from postern import anonymous, github, hmac_header, workflow

@workflow(access=anonymous(signed_by=github("hook")))
async def pushed(ctx, event: dict[str, int]): ...

SIGNS = hmac_header(header="X-Sig", secret="hook", algorithm="sha512", encoding="base64")

@workflow(access=anonymous(signed_by=SIGNS), networks=["192.0.2.0/24"])
async def sent(ctx, event: dict[str, int]): ...
"""


def test_a_signature_is_a_header_of_the_document_and_no_token_is_asked_for(tmp_path: Path):
    (tmp_path / "hooks.py").write_text(MODULE, encoding="utf-8")
    document = openapi_document(triggers_of(tmp_path, key_vault_url="https://v.vault.azure.net"), HERE)
    validate(deepcopy(document), cls=OpenAPIV31SpecValidator)
    schemes = document["components"]["securitySchemes"]
    pushed = document["paths"]["/triggers/pushed"]["post"]

    assert pushed["security"] == [{"signedByXHubSignature256": []}]
    assert schemes["signedByXHubSignature256"]["name"] == "X-Hub-Signature-256"
    assert "SHA256 in hex, after sha256=" in schemes["signedByXHubSignature256"]["description"]
    assert "SHA512 in base64." in schemes["signedByXSig"]["description"]
    assert {"401", "503"} <= set(pushed["responses"])
    assert "entra" not in schemes
    assert "hook" not in str(schemes).replace("webhook", "")
    assert pushed["x-postern-asks"] == ["but the signature of GitHub"]
    near = document["paths"]["/triggers/sent"]["post"]["x-postern-asks"]
    assert near == ["but the signature of the sender that signs in X-Sig", "from certain networks only"]
    assert "192.0.2" not in str(document)


def test_the_page_of_a_signed_trigger_says_who_calls_it_and_has_no_command(tmp_path: Path):
    (tmp_path / "hooks.py").write_text(MODULE, encoding="utf-8")
    document = openapi_document(triggers_of(tmp_path, key_vault_url="https://v.vault.azure.net"), HERE)
    shown = {operation.id: operation for operation in shown_operations(document)}

    assert {(each.command, each.no_command) for each in shown.values()} == {("", BY_SENDER)}
    assert shown["Pushed"].conditions == ["but the signature of GitHub"]
