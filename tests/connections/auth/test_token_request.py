"""What a token request holds: further parameters, and the assertion that a private key signs."""

from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.auth.oauth2 import OAuth2
from postern.connections.auth.token_request import TokenRequest, token_request
from postern.connections.faults import ConnectionFault
from postern.http_client import http_client
from postern.settings import OAuth2Auth
from tests.connections.token_server import Kept, reply, token_server

pytestmark = pytest.mark.anyio

URL = "https://login.example/token"
SECRET = {"key_vault": "a-secret"}
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)


def by_secret(**keys: Any) -> OAuth2Auth:
    return OAuth2Auth(**{"token_url": URL, "client_id": "c", "client_secret": SECRET, **keys})


def signing(**keys: Any) -> OAuth2Auth:
    return OAuth2Auth(token_url=URL, client_id="c", private_key=SECRET, **keys)


def form(request: TokenRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body, keep_blank_values=True, strict_parsing=True)


def test_a_resource_may_be_several():
    """RFC 8707, section 2: AD FS and version 1 of Entra want one, others take more."""
    auth = by_secret(resource=["https://a.example/?x=y&z", "urn:b,c"])
    assert form(token_request(auth, "s")) == [
        ("grant_type", "client_credentials"),
        ("resource", "https://a.example/?x=y&z"),
        ("resource", "urn:b,c"),
    ]


def test_parameters_may_replace_the_grant():
    """Zoom's account credentials."""
    parameters = {"grant_type": "account_credentials", "account_id": "1"}
    assert form(token_request(by_secret(parameters=parameters), "s", parameters)) == list(parameters.items())


@given(st.dictionaries(st.sampled_from(["a", "b.c", "d-e", "f[0]"]), st.text(min_size=1)), printable)
def test_each_parameter_arrives_as_it_was_written(parameters: dict[str, str], resource: str):
    try:
        made = token_request(by_secret(resource=resource, client_authentication="body"), "s&=", parameters)
    except UnicodeEncodeError:  # halves of surrogate pairs
        return
    wanted = {**parameters, "resource": resource, "client_id": "c", "client_secret": "s&="}
    assert dict(form(made)) == {"grant_type": "client_credentials", **wanted}


@pytest.mark.parametrize("ways", [{"client_authentication": "private_key_jwt"}, {"identity_provider": "google"}])
@pytest.mark.parametrize("key_id", [None, "key 2"])
@pytest.mark.parametrize("audience", [None, "https://idp.example"])
def test_an_assertion_names_its_key_and_audience(ways: dict[str, str], key_id: str | None, audience: str | None):
    auth = signing(scopes=["a"], key_id=key_id, assertion_audience=audience, **ways)
    fields = dict(form(token_request(auth, PEM)))
    assertion = fields.get("client_assertion") or fields["assertion"]
    assert jwt.get_unverified_header(assertion).get("kid") == key_id
    wanted = audience or URL
    assert jwt.decode(assertion, KEY.public_key(), ["ES256"], audience=wanted)["aud"] == wanted


async def test_a_secret_among_the_parameters_is_read_and_read_again():
    vault = Kept({"a-secret": "s", "planted": "planted-1"})
    async with token_server() as server, http_client() as http:
        auth = by_secret(
            token_url=server.url, parameters={"grant_type": "password", "password": {"key_vault": "planted"}}
        )
        sign_in = OAuth2("connections.sap", auth, vault, http)
        taken = ["planted-2"]
        server.answer = lambda received: (
            reply(access_token="token", token_type="Bearer")
            if received.form["password"] in taken
            else reply(400, error="invalid_client")
        )
        with pytest.raises(ConnectionFault) as caught:
            await sign_in.credential()
        assert "planted" not in str(caught.value).replace("'planted'", "")
        vault.values["planted"] = "planted-2"
        assert await sign_in.credential() == "token"
        assert [each.form["grant_type"] for each in server.received] == ["password"] * len(server.received)
        stages = [stage async for stage in sign_in.try_out()]
        assert [(stage.name, stage.passed) for stage in stages] == [("secret", True), ("secret", True), ("token", True)]
