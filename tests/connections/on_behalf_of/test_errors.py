"""What a refusal of Entra becomes: who has to act, and whether a claims challenge goes to the caller."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postern.authoring.consent import ConsentRequired
from postern.authoring.sign_in_required import SignInRequired
from postern.connections.auth.entra_errors import TokenDetails, claims_of
from postern.connections.auth.entra_token_request import EntraRefused
from postern.connections.on_behalf_of.errors import fault_of
from tests.table import table

DETAILS = TokenDetails(
    way="application",
    authority="https://login.example",
    tenant_id="the-tenant",
    client_id="the-application",
    scope="the-scope",
)
CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


@dataclass
class Refusal(Exception):
    """An error of Azure's client with a response."""

    document: Any

    @property
    def response(self) -> "Refusal":
        return self

    def json(self) -> Any:
        return self.document


@table(
    ("codes", "claims", "kind", "passed_on", "text"),
    [
        ((65001,), "", ConsentRequired, "", "granted the application the-application the-scope"),
        ((90094,), "", ConsentRequired, "", "Grant admin consent"),
        ((50076,), CLAIMS, SignInRequired, CLAIMS, "another factor"),
        ((50079,), CLAIMS, SignInRequired, CLAIMS, "set up another factor"),
        ((50076,), "", SignInRequired, "", "another factor"),
        ((50173,), "", SignInRequired, "", "was revoked"),
        ((500133,), "", SignInRequired, "", "has expired meanwhile"),
        ((53003,), "", None, "", "names the policy"),
        ((53003,), CLAIMS, SignInRequired, CLAIMS, "conditional access"),
        ((53000,), CLAIMS, SignInRequired, CLAIMS, "another condition"),
        ((50013,), "", None, "", "Operator: check that callers"),
        ((500131,), "", None, "", "POSTERN_AUDIENCE"),
        ((7000114,), "", None, "", "apps=False"),
        ((50034,), "", None, "", "the tenant the-tenant"),
        ((99999, 65001), "", ConsentRequired, "", "Grant admin consent"),
        ((), "", None, "", "Do this"),
        ((99999,), "", None, "", "Do this"),
    ],
)
def test_who_has_to_act(codes: tuple[int, ...], claims: str, kind: type | None, passed_on: str, text: str):
    refused = EntraRefused("connections.me", "cannot sign in", "Do this", codes, claims)
    fault = fault_of(refused, DETAILS)
    assert fault.entry == "connections.me"
    assert text in str(fault)
    for each in (ConsentRequired, SignInRequired):
        assert isinstance(fault, each) == (each is kind)
    assert getattr(fault, "claims", "") == passed_on
    own = fault.own()
    assert own is not fault
    assert (type(own), str(own), vars(own)) == (type(fault), str(fault), vars(fault))


@table(
    ("document", "claims"),
    [
        ({"claims": CLAIMS}, CLAIMS),
        ({"claims": ""}, ""),
        ({"claims": "no JSON"}, ""),
        ({"claims": "[1]"}, ""),
        ({"claims": {"a": 1}}, ""),
        ({"claims": json.dumps({"a": "x" * 4000})}, ""),
        ({}, ""),
        (None, ""),
        ("text", ""),
    ],
)
def test_a_challenge_is_a_small_json_object(document: Any, claims: str):
    assert claims_of(Refusal(document)) == claims


@given(st.recursive(st.none() | st.text() | st.integers(), lambda each: st.dictionaries(st.text(), each), max_leaves=5))
def test_any_document_is_read(document: Any):
    claims = claims_of(Refusal({"claims": document}))
    assert claims == "" or isinstance(json.loads(claims), dict)


def test_an_error_without_a_response_has_none():
    assert claims_of(TimeoutError()) == ""
