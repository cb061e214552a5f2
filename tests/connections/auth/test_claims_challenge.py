"""The claims challenge of another side, as a table: which header fields ask for claims, and what is taken of them."""

import json
from base64 import b64encode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from postern.access import claims_request
from postern.connections.auth.claims_challenge import LONGEST, claims_asked_for
from postern.triggers.challenge import claims_challenge
from tests.table import table

C1 = claims_request.auth_context("c1")
ENCODED = b64encode(C1.encode()).decode()
ODD = '{"a":{"b":"\\u00fe\\u00ff~~~???"}}'


def challenge(document: str) -> str:
    return f'Bearer error="insufficient_claims", claims="{b64encode(document.encode()).decode()}"'


@table(
    ("fields", "claims"),
    [
        ([claims_challenge(C1, "https://login.microsoftonline.com")], C1),
        ([f'Bearer realm="", error="insufficient_claims", claims="{ENCODED}"'], C1),
        ([f'bearer claims="{ENCODED}",error=insufficient_claims'], C1),
        ([f'Basic realm="x", Bearer error="insufficient_claims", claims="{ENCODED}"'], C1),
        (['Basic realm="x"', f'Bearer error="insufficient_claims", claims="{ENCODED}"'], C1),
        ([f'Bearer error="insufficient_claims", claims="{ENCODED.rstrip("=")}"'], C1),
        ([f'Bearer error="insufficient_claims", claims="{urlsafe_b64encode(ODD.encode()).decode()}"'], ODD),
        ([challenge('{ "access_token" : { "nbf" : { "value" : "1" } } }')], '{"access_token":{"nbf":{"value":"1"}}}'),
        # nothing to answer
        ([], ""),
        (["Bearer"], ""),
        ([f'Bearer error="invalid_token", claims="{ENCODED}"'], ""),
        ([f'Bearer xerror="insufficient_claims", claims="{ENCODED}"'], ""),
        ([f'Bearer error="insufficient_claims", xclaims="{ENCODED}"'], ""),
        ([f'Digest error="insufficient_claims", claims="{ENCODED}"'], ""),
        (['Bearer error="insufficient_claims"'], ""),
        ([f'Bearer error="insufficient_claims", claims="{ENCODED}", claims="{ENCODED}"'], ""),
        (['Bearer error="insufficient_claims", claims="%%%"'], ""),
        (['Bearer error="insufficient_claims", claims="AAAA"'], ""),
        ([challenge("[]")], ""),
        ([challenge("{}")], ""),
        ([challenge('"x"')], ""),
        ([challenge('{"access_token":[]}')], ""),
        ([challenge('{"a":NaN}')], ""),
        ([challenge('{"a":' * 17 + "1" + "}" * 17)], ""),
        ([challenge('{"a":' * 900 + "1" + "}" * 900)], ""),
        ([challenge('{"a":"' + "x" * LONGEST + '"}')], ""),
    ],
)
def test_the_claims_that_are_asked_for(fields, claims):
    assert claims_asked_for(fields) == claims


@given(st.lists(st.text(max_size=60) | st.builds(challenge, st.text(max_size=40)), max_size=3))
def test_whatever_is_in_the_fields_is_an_object_or_nothing(fields):
    if found := claims_asked_for(fields):
        assert isinstance(json.loads(found), dict)
        assert len(found) <= LONGEST
