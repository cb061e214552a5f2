"""What a token request holds: further parameters, and the assertion that a private key signs."""

import base64
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.auth.oauth2 import OAuth2
from postern.connections.auth.token_request import TokenRequest, token_request
from postern.connections.auth.token_response import Answer
from postern.connections.faults import ConnectionFault
from postern.http_client import http_client
from postern.settings import OAuth2Auth
from tests.connections.token_server import Kept, reply, token_server
from tests.table import table

pytestmark = pytest.mark.anyio

URL = "https://login.example/token"
SECRET = {"key_vault": "a-secret"}
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
MARK = "marker-of-a-secret"
SECRET_URL = f"{URL}?key={MARK}"


def issued() -> list[str]:
    """The chain of certificates of the key: its own, that of its issuer, and the root."""
    keys = [KEY, *(ec.generate_private_key(ec.SECP256R1()) for _ in range(2))]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("leaf", "between", "root")]
    made = []
    for place, key in enumerate(keys):
        above = min(place + 1, 2)
        builder = x509.CertificateBuilder().subject_name(names[place]).issuer_name(names[above])
        builder = builder.public_key(key.public_key()).serial_number(place + 1)
        builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
            datetime(2099, 1, 1, tzinfo=UTC)
        )
        made.append(builder.sign(keys[above], hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode())
    return made


CHAIN = issued()
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


@table("ways", [{"client_authentication": "private_key_jwt"}, {"identity_provider": "google"}])
@table("key_id", [None, "key 2"])
@table("audience", [None, "https://idp.example"])
def test_an_assertion_names_its_key_and_audience(ways: dict[str, str], key_id: str | None, audience: str | None):
    auth = signing(scopes=["a"], key_id=key_id, assertion_audience=audience, **ways)
    fields = dict(form(token_request(auth, PEM)))
    assertion = fields.get("client_assertion") or fields["assertion"]
    assert jwt.get_unverified_header(assertion).get("kid") == key_id
    wanted = audience or URL
    assert jwt.decode(assertion, KEY.public_key(), ["ES256"], audience=wanted)["aud"] == wanted


@table("ways", [{"client_authentication": "private_key_jwt"}, {"identity_provider": "google"}])
@table("order", list(permutations(range(4))))
def test_an_assertion_has_the_chain_of_its_key_in_order(ways: dict[str, str], order: tuple[int, ...]):
    """Whatever the order of the secret: each certificate is followed by its issuer's (RFC 7515, section 4.1.6)."""
    auth = signing(scopes=["a"], certificate_chain=True, **ways)
    fields = dict(form(token_request(auth, "".join([PEM, *CHAIN][place] for place in order))))
    assertion = fields.get("client_assertion") or fields["assertion"]
    header = jwt.get_unverified_header(assertion)
    sent = [x509.load_der_x509_certificate(base64.b64decode(part)) for part in header["x5c"]]
    assert [each.public_bytes(serialization.Encoding.PEM).decode() for each in sent] == CHAIN
    for name, by in (("x5t", hashes.SHA1()), ("x5t#S256", hashes.SHA256())):
        assert base64.urlsafe_b64decode(header[name] + "==") == sent[0].fingerprint(by)
    assert jwt.decode(assertion, KEY.public_key(), ["ES256"], audience=URL)["iss"] == "c"
    assert "PRIVATE" not in str(header)


@pytest.mark.parametrize("certificates", [[], CHAIN[1:]])
async def test_a_chain_without_the_certificate_of_its_key_is_a_fault_of_the_secret(certificates: list[str]):
    auth = signing(client_authentication="private_key_jwt", certificate_chain=True)
    async with http_client() as http:
        sign_in = OAuth2("connections.sap", auth, Kept({"a-secret": PEM + "".join(certificates)}), http)
        with pytest.raises(ConnectionFault, match=r"no certificate of its private key.* with its certificates") as e:
            await sign_in.credential()
    assert "PRIVATE" not in str(e.value)


@pytest.mark.parametrize("made", [TokenRequest(SECRET_URL, {"Authorization": MARK}, MARK), Answer(200, MARK.encode())])
def test_what_holds_a_secret_does_not_show_it(made: object):
    assert MARK not in repr(made)


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
