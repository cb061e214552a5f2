"""The access matrix: rows are credentials, columns are triggers. Each cell says the status, and the workflow ran if and only if it
is 200. Credentials go over the real wire format, the keys come from the local tenant over TLS."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postern.journal.revocations import Kind, Rule
from postern.local_tenant import LocalTenant
from tests.pipeline.pipelines import TRIGGERS, Pipelines, open_triggers
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.process]

Headers = list[tuple[bytes, bytes]]
OTHER = "99999999-9999-9999-9999-999999999999"


@cache
def foreign_key() -> rsa.RSAPrivateKey:
    """A key that is not the tenant's."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def curve_key() -> ec.EllipticCurvePrivateKey:
    """One of another kind."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Forge:
    """What rows are made with: the tenant's own claims and key, and every way to spoil them."""

    local: LocalTenant

    def claims(self, who: str = "lisa", version: Any = 2, **changes: Any) -> dict[str, Any]:
        """The claims of a good token, changed; None leaves a claim out."""
        changed = {**self.local.claims(who, version=version), **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def signed(self, who: str = "lisa", version: Any = 2, **changes: Any) -> Headers:
        """A token by the right key with these claims."""
        return bearer(self.local.mint(self.claims(who, version, **changes)))

    def headed(self, key: Any = None, **headers: Any) -> Headers:
        """A token of lisa with these JOSE header members."""
        return bearer(self.local.mint(self.claims(), headers, key))

    def raw(self, payload: bytes) -> Headers:
        """A token by the right key whose payload is these bytes."""
        return bearer(self.local.mint(payload))

    def good(self, who: str = "lisa", **options: Any) -> str:
        """A good token."""
        return self.local.token(who, **options)

    def parts(self) -> list[str]:
        """The three parts of lisa's token."""
        return self.good().split(".")

    @property
    def public_pem(self) -> bytes:
        """The tenant's public key as PEM, for HMAC confusion."""
        key = self.local.signing_keys[0].private.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def public_jwk(self) -> dict[str, Any]:
        """A foreign public key as JWK, for tokens that contain their own."""
        return dict(jwt.algorithms.RSAAlgorithm.to_jwk(foreign_key().public_key(), as_dict=True))


def bearer(token: str | bytes) -> Headers:
    """One Authorization field."""
    return [(b"authorization", b"Bearer " + (token if isinstance(token, bytes) else token.encode()))]


def encoded(part: Any) -> str:
    """A part of a token."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_json(forge: Forge, text: str) -> Headers:
    """Lisa's claims with this JSON text put in front of the closing brace."""
    return forge.raw((json.dumps(forge.claims())[:-1] + text + "}").encode())


NOW = int(time.time())
HOUR = 3600
ENDED, BARRED, CLIENT = (f"{digit * 8}-7777-4777-8777-777777777777" for digit in "789")
REVOKED = (
    Rule(Kind.CALLER, "", ENDED, NOW - 1000),
    Rule(Kind.CALLER, "", BARRED, NOW - 1000, NOW + HOUR),
    Rule(Kind.CLIENT, "", CLIENT, NOW - 1000),
    Rule(Kind.TOKEN, "", "revoked-token-id", NOW - 1000),
)

# The triggers, from left to right, are those of TRIGGERS in pipelines.py: anonymous, tenant_users, specific_users(lisa), people
# only, members only, the role Workflow.Run, the scope user_impersonation, through one client only, and no agents.
MATRIX: list[tuple[str, str, Callable[[Forge], Headers]]] = [
    # ------------------------------------------------------------------------------------------ no credentials
    ("no header",                                         "200 401 401 401 401 401 401 401 401", lambda f: []),
    ("an empty header",                                   "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"")]),
    ("Basic",                                             "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"Basic bGlzYTpsaXNh")]),
    ("Bearer without a token",                            "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"Bearer")]),
    ("Bearer and a space",                                "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"Bearer ")]),
    # ------------------------------------------------------------------------------------------ misplaced
    ("a good token without the scheme",                   "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", f.good().encode())]),
    ("a good token under another scheme",                 "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"Token " + f.good().encode())]),
    ("DPoP",                                              "200 401 401 401 401 401 401 401 401", lambda f: [(b"authorization", b"DPoP " + f.good().encode())]),
    ("a good token in a cookie",                          "200 401 401 401 401 401 401 401 401", lambda f: [(b"cookie", b"access_token=" + f.good().encode())]),
    ("a good token in another header",                    "200 401 401 401 401 401 401 401 401", lambda f: [(b"x-authorization", b"Bearer " + f.good().encode())]),
    ("a good token in Proxy-Authorization",               "200 401 401 401 401 401 401 401 401", lambda f: [(b"proxy-authorization", b"Bearer " + f.good().encode())]),
    ("a proxy's identity headers",                        "200 401 401 401 401 401 401 401 401", lambda f: [(b"x-ms-client-principal-id", f.local.people["lisa"].encode()), (b"x-forwarded-user", b"lisa")]),
    ("two good tokens in two fields",                     "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good()) * 2),
    ("a good token after a bad one",                      "200 401 401 401 401 401 401 401 401", lambda f: bearer("x.y.z") + bearer(f.good())),
    ("two tokens joined by a comma",                      "200 401 401 401 401 401 401 401 401", lambda f: bearer(f"{f.good()}, Bearer {f.good()}")),
    ("a good token with more behind it",                  "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good() + " x")),
    ("a good token with a tab before it",                 "200 401 401 401 401 401 401 401 401", lambda f: bearer("\t" + f.good())),
    ("a good token in quotes",                            "200 401 401 401 401 401 401 401 401", lambda f: bearer(f'"{f.good()}"')),
    # ------------------------------------------------------------------------------------------ malformed
    ("garbage",                                           "200 401 401 401 401 401 401 401 401", lambda f: bearer("garbage")),
    ("bytes that are not ASCII",                          "200 401 401 401 401 401 401 401 401", lambda f: bearer(b"\xff\xfe.\x80.\x81")),
    ("only dots",                                         "200 401 401 401 401 401 401 401 401", lambda f: bearer("..")),
    ("two parts",                                         "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join(f.parts()[:2]))),
    ("an empty signature",                                "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join([*f.parts()[:2], ""]))),
    ("five parts, as a JWE has",                          "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join([*f.parts(), "a", "b"]))),
    ("padding",                                           "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good() + "==")),
    ("a header that is no JSON",                          "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join([encoded(b"{"), *f.parts()[1:]]))),
    ("a header that is a list",                           "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join([encoded([]), *f.parts()[1:]]))),
    ("a payload that is a text",                          "200 401 401 401 401 401 401 401 401", lambda f: f.raw(b'"lisa"')),
    ("a payload in UTF-16",                               "200 401 401 401 401 401 401 401 401", lambda f: f.raw(json.dumps(f.claims()).encode("utf-16"))),
    ("a payload nested deeply",                           "200 401 401 401 401 401 401 401 401", lambda f: f.raw(b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}")),
    ("a claim written twice",                             "200 401 401 401 401 401 401 401 401", lambda f: with_json(f, f', "oid": "{OTHER}"')),
    ("NaN as a time",                                     "200 401 401 401 401 401 401 401 401", lambda f: with_json(f, ', "nbf2": NaN')),
    ("100,000 letters",                                   "200 401 401 401 401 401 401 401 401", lambda f: bearer("a" * 100_000)),
    # ------------------------------------------------------------------------------------------ forged
    ("alg none",                                          "200 401 401 401 401 401 401 401 401", lambda f: bearer(f"{encoded({'alg': 'none', 'kid': f.local.signing_keys[0].kid})}.{f.parts()[1]}.")),
    ("alg none with the old signature",                   "200 401 401 401 401 401 401 401 401", lambda f: bearer(f"{encoded({'alg': 'none'})}.{f.parts()[1]}.{f.parts()[2]}")),
    ("alg nOnE",                                          "200 401 401 401 401 401 401 401 401", lambda f: bearer(f"{encoded({'alg': 'nOnE'})}.{f.parts()[1]}.")),
    ("alg missing",                                       "200 401 401 401 401 401 401 401 401", lambda f: f.headed(alg=None)),
    ("alg a list",                                        "200 401 401 401 401 401 401 401 401", lambda f: f.headed(alg=["RS256"])),
    ("alg rs256 in small letters",                        "200 401 401 401 401 401 401 401 401", lambda f: f.headed(alg="rs256")),
    ("HS256 with the public key as secret",               "200 401 401 401 401 401 401 401 401", lambda f: f.headed(f.public_pem, alg="HS256")),
    ("RS384 by the right key",                            "200 401 401 401 401 401 401 401 401", lambda f: f.headed(alg="RS384")),
    ("PS256 by the right key",                            "200 401 401 401 401 401 401 401 401", lambda f: f.headed(alg="PS256")),
    ("ES256 by another key",                              "200 401 401 401 401 401 401 401 401", lambda f: f.headed(curve_key(), alg="ES256")),
    ("another key under the right kid",                   "200 401 401 401 401 401 401 401 401", lambda f: f.headed(foreign_key())),
    ("another key in the token          (jwk)",           "200 401 401 401 401 401 401 401 401", lambda f: f.headed(foreign_key(), jwk=f.public_jwk)),
    ("another key that the token points to (jku)",        "200 401 401 401 401 401 401 401 401", lambda f: f.headed(foreign_key(), jku="http://127.0.0.1:9/keys")),
    ("an unknown kid",                                    "200 401 401 401 401 401 401 401 401", lambda f: f.headed(kid="unknown")),
    ("no kid",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.headed(kid=None)),
    ("a kid that is a number",                            "200 401 401 401 401 401 401 401 401", lambda f: f.headed(kid=1)),
    ("a kid that is a path",                              "200 401 401 401 401 401 401 401 401", lambda f: f.headed(kid="../../dev/null")),
    ("crit",                                              "200 401 401 401 401 401 401 401 401", lambda f: f.headed(crit=["exp"])),
    ("crit b64",                                          "200 401 401 401 401 401 401 401 401", lambda f: f.headed(crit=["b64"], b64=True)),
    ("zip",                                               "200 401 401 401 401 401 401 401 401", lambda f: f.headed(zip="DEF")),
    ("typ of a logout token",                             "200 401 401 401 401 401 401 401 401", lambda f: f.headed(typ="logout+jwt")),
    ("typ of a DPoP proof",                               "200 401 401 401 401 401 401 401 401", lambda f: f.headed(typ="dpop+jwt")),
    ("claims changed after signing",                      "200 401 401 401 401 401 401 401 401", lambda f: bearer(f"{f.parts()[0]}.{encoded(f.claims(oid=OTHER))}.{f.parts()[2]}")),
    ("a signature cut short",                             "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good()[:-10])),
    ("the signature of another token",                    "200 401 401 401 401 401 401 401 401", lambda f: bearer(".".join([*f.parts()[:2], f.good("ada").split(".")[2]]))),
    # ------------------------------------------------------------------------------------------ stale
    ("expired",                                           "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good(expired=True))),
    ("not valid yet",                                     "200 401 401 401 401 401 401 401 401", lambda f: f.signed(nbf=NOW + HOUR)),
    ("no exp",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(exp=None)),
    ("no nbf",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(nbf=None)),
    ("exp as a text",                                     "200 401 401 401 401 401 401 401 401", lambda f: f.signed(exp=str(NOW + HOUR))),
    ("exp true",                                          "200 401 401 401 401 401 401 401 401", lambda f: f.signed(exp=True)),
    ("exp as a list",                                     "200 401 401 401 401 401 401 401 401", lambda f: f.signed(exp=[NOW + HOUR])),
    ("exp of 5,000 digits",                               "200 401 401 401 401 401 401 401 401", lambda f: f.raw(json.dumps(f.claims(exp=0)).replace('"exp": 0', '"exp": ' + "9" * 5000).encode())),
    ("exp 1e999",                                         "200 401 401 401 401 401 401 401 401", lambda f: f.raw(json.dumps(f.claims(exp=0)).replace('"exp": 0', '"exp": 1e999').encode())),
    ("issued in the future",                              "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iat=NOW + HOUR)),
    ("iat as a text",                                     "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iat=str(NOW))),
    # ------------------------------------------------------------------------------------------ revoked
    ("a person whose access has ended",                   "200 401 401 401 401 401 401 401 401", lambda f: f.signed("ada", oid=ENDED, iat=NOW - 1001)),
    ("the same without iat",                              "200 401 401 401 401 401 401 401 401", lambda f: f.signed("ada", oid=ENDED, iat=None)),
    ("the same, in capitals",                             "200 401 401 401 401 401 401 401 401", lambda f: f.signed("ada", oid=ENDED.upper(), iat=NOW - 1001)),
    ("the same, v1",                                      "200 401 401 401 401 401 401 401 401", lambda f: f.signed("ada", version=1, oid=ENDED, iat=NOW - 1001)),
    ("the same, issued since",                            "200 200 401 200 200 401 200 401 200", lambda f: f.signed("ada", oid=ENDED, iat=NOW - 900)),
    ("a person who is barred, issued since",              "200 401 401 401 401 401 401 401 401", lambda f: f.signed("ada", oid=BARRED, iat=NOW - 10)),
    ("an application whose access has ended",             "200 401 401 401 401 401 401 401 401", lambda f: f.signed("nightly-report", oid=ENDED, iat=NOW - 1001)),
    ("lisa, through a revoked application",               "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=CLIENT, iat=NOW - 1001)),
    ("lisa, v1, through a revoked application",           "200 401 401 401 401 401 401 401 401", lambda f: f.signed(version=1, appid=CLIENT, iat=NOW - 1001)),
    ("a revoked application itself",                      "200 401 401 401 401 401 401 401 401", lambda f: f.signed("nightly-report", azp=CLIENT, iat=NOW - 1001)),
    ("lisa, through it, issued since",                    "200 200 200 200 200 401 200 401 200", lambda f: f.signed(azp=CLIENT, iat=NOW - 900)),
    ("a revoked token",                                   "200 401 401 401 401 401 401 401 401", lambda f: f.signed(uti="revoked-token-id")),
    ("a token whose id differs in case",                  "200 200 200 200 200 401 200 401 200", lambda f: f.signed(uti="Revoked-token-id")),
    # ------------------------------------------------------------------------------------------ of another tenant
    ("for another audience",                              "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good(wrong_audience=True))),
    ("the audience with a slash more",                    "200 401 401 401 401 401 401 401 401", lambda f: f.signed(version=1, aud=f.local.audience + "/")),
    ("the audience in capitals",                          "200 401 401 401 401 401 401 401 401", lambda f: f.signed(version=1, aud=f.local.audience.upper())),
    ("several audiences, ours among them",                "200 401 401 401 401 401 401 401 401", lambda f: f.signed(aud=[f.local.client_id, OTHER])),
    ("no audience",                                       "200 401 401 401 401 401 401 401 401", lambda f: f.signed(aud=None)),
    ("an empty audience",                                 "200 401 401 401 401 401 401 401 401", lambda f: f.signed(aud="")),
    ("another tenant, by the same key",                   "200 401 401 401 401 401 401 401 401", lambda f: bearer(f.good(other_tenant=True))),
    ("another tenant in tid only",                        "200 401 401 401 401 401 401 401 401", lambda f: f.signed(tid=OTHER)),
    ("another tenant in iss only",                        "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=f"{f.local.authority}/{OTHER}/v2.0")),
    ("a v1 issuer and ver 2.0",                           "200 401 401 401 401 401 401 401 401", lambda f: f.signed(version=1, ver="2.0")),
    ("a v2 issuer and ver 1.0",                           "200 401 401 401 401 401 401 401 401", lambda f: f.signed(ver="1.0")),
    ("no ver",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(ver=None)),
    ("the v2 issuer with a slash more",                   "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=f.claims()["iss"] + "/")),
    ("an issuer that only begins like ours",              "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=f.claims()["iss"] + ".evil.example")),
    ("the issuer of another cloud",                       "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=f"https://login.microsoftonline.us/{f.local.tenant_id}/v2.0")),
    ("an issuer as a list",                               "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=[f.claims()["iss"]])),
    ("no issuer",                                         "200 401 401 401 401 401 401 401 401", lambda f: f.signed(iss=None)),
    ("no tid",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(tid=None)),
    ("no oid",                                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(oid=None)),
    ("an empty oid",                                      "200 401 401 401 401 401 401 401 401", lambda f: f.signed(oid="")),
    ("oid as a list",                                     "200 401 401 401 401 401 401 401 401", lambda f: f.signed(oid=[f.local.people["lisa"]])),
    ("oid with a space",                                  "200 401 401 401 401 401 401 401 401", lambda f: f.signed(oid=f.local.people["lisa"] + " ")),
    ("lisa by name and mail, not by oid",                 "200 200 401 200 200 401 200 401 200", lambda f: f.signed("ada", name="lisa", preferred_username="lisa@local.test", upn="lisa", email="lisa")),
    ("an ID token",                                       "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=None, azpacr=None, scp=None, roles=None, idtyp=None, nonce="n")),
    ("an ID token with roles",                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=None, azpacr=None, scp=None, roles=["Workflow.Run"], idtyp=None, nonce="n")),
    ("roles and no client",                               "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=None, azpacr=None, scp=None, roles=["Workflow.Run"])),
    ("idtyp and no client",                               "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=None, azpacr=None, scp=None, idtyp="user")),
    ("an empty scp and no client",                        "200 401 401 401 401 401 401 401 401", lambda f: f.signed(azp=None, azpacr=None, scp="")),
    ("bound to a key that the caller must show (cnf)",    "200 401 401 401 401 401 401 401 401", lambda f: f.signed(cnf={"jkt": "x"})),
    # ------------------------------------------------------------------------------------------ good
    ("lisa",                                              "200 200 200 200 200 401 200 401 200", lambda f: bearer(f.good())),
    ("lisa, v1",                                          "200 200 200 200 200 401 200 401 200", lambda f: bearer(f.good(version=1))),
    ("lisa, bearer in small letters",                     "200 200 200 200 200 401 200 401 200", lambda f: [(b"authorization", b"bearer " + f.good().encode())]),
    ("lisa, BEARER and three spaces",                     "200 200 200 200 200 401 200 401 200", lambda f: [(b"authorization", b"BEARER   " + f.good().encode())]),
    ("lisa, within the leeway after its end",             "200 200 200 200 200 401 200 401 200", lambda f: f.signed(exp=int(time.time()) - 20)),
    ("lisa, within the leeway before its beginning",      "200 200 200 200 200 401 200 401 200", lambda f: f.signed(nbf=int(time.time()) + 40)),
    ("lisa, issued within the leeway",                    "200 200 200 200 200 401 200 401 200", lambda f: f.signed(iat=int(time.time()) + 40)),
    ("lisa, without iat",                                 "200 200 200 200 200 401 200 401 200", lambda f: f.signed(iat=None)),
    ("lisa, with scp and no client",                      "200 200 200 200 200 401 200 401 200", lambda f: f.signed(azp=None, azpacr=None)),
    ("lisa, with a role",                                 "200 200 200 200 200 200 200 401 200", lambda f: f.signed(roles=["Workflow.Run"])),
    ("lisa, with another role",                           "200 200 200 200 200 401 200 401 200", lambda f: f.signed(roles=["workflow.run"])),
    ("lisa, with other scopes",                           "200 200 200 200 200 401 401 401 200", lambda f: f.signed(scp="Files.Read User_Impersonation")),
    ("lisa, with several scopes",                         "200 200 200 200 200 401 200 401 200", lambda f: f.signed(scp="Files.Read user_impersonation")),
    ("lisa, through the one application",                 "200 200 200 200 200 401 200 200 200", lambda f: f.signed(azp=OTHER)),
    ("lisa, v1, through the one application",             "200 200 200 200 200 401 200 200 200", lambda f: f.signed(version=1, appid=OTHER)),
    ("ada",                                               "200 200 401 200 200 401 200 401 200", lambda f: bearer(f.good("ada"))),
    ("ada, v1",                                           "200 200 401 200 200 401 200 401 200", lambda f: bearer(f.good("ada", version=1))),
    ("a guest",                                           "200 200 401 200 401 401 200 401 200", lambda f: bearer(f.good("gil"))),
    ("a guest, v1",                                       "200 200 401 200 401 401 200 401 200", lambda f: bearer(f.good("gil", version=1))),
    ("a guest, by acct alone",                            "200 200 401 200 401 401 200 401 200", lambda f: f.signed("gil", idp=None)),
    ("a guest, by idp alone",                             "200 200 401 200 401 401 200 401 200", lambda f: f.signed("gil", acct=None)),
    ("a member who signs in at another tenant",           "200 200 401 200 200 401 200 401 200", lambda f: f.signed("gil", acct=0)),
    ("lisa, by an agent",                                 "200 200 200 200 200 401 200 401 401", lambda f: f.signed(xms_act_fct="3 9 11")),
    ("lisa, by an agent, v1",                             "200 200 200 200 200 401 200 401 401", lambda f: f.signed(version=1, xms_act_fct="11")),
    ("lisa, with facets of no agent",                     "200 200 200 200 200 401 200 401 200", lambda f: f.signed(xms_act_fct="3 9 111", xms_sub_fct="1")),
    ("an agent's own user account",                       "200 200 200 200 200 401 200 401 401", lambda f: f.signed(xms_sub_fct="9 13")),
    ("lisa, by an agent with a blueprint alone",          "200 200 200 200 200 401 200 401 401", lambda f: f.signed(xms_par_app_azp=OTHER)),
    ("an agent for itself",                               "200 200 401 401 200 200 401 401 401", lambda f: bearer(f.good("booking-agent"))),
    ("an agent for itself, with scp and no idtyp",        "200 200 401 401 200 200 401 401 401", lambda f: f.signed("booking-agent", scp="/", idtyp=None)),
    ("an agent for itself, with scp and idtyp",           "200 200 401 401 200 200 401 401 401", lambda f: f.signed("booking-agent", scp="/")),
    ("facets that are no text",                           "200 401 401 401 401 401 401 401 401", lambda f: f.signed(xms_act_fct=11)),
    ("facets that are a list",                            "200 401 401 401 401 401 401 401 401", lambda f: f.signed(xms_sub_fct=["13"])),
    ("a blueprint that is no id",                         "200 401 401 401 401 401 401 401 401", lambda f: f.signed(xms_par_app_azp="x")),
    ("an application with the role",                      "200 200 401 401 200 200 401 401 200", lambda f: bearer(f.good("nightly-report"))),
    ("an application with the role, v1",                  "200 200 401 401 200 200 401 401 200", lambda f: bearer(f.good("nightly-report", version=1))),
    ("an application without the optional idtyp",         "200 200 401 401 200 200 401 401 200", lambda f: f.signed("nightly-report", idtyp=None)),
    ("an application with no roles",                      "200 200 401 401 200 401 401 401 200", lambda f: f.signed("nightly-report", roles=None)),
]  # fmt: skip


@pytest.fixture(scope="module")
async def pipelines(local_tenant: LocalTenant) -> AsyncIterator[Pipelines]:
    """One workflow behind each trigger."""
    async with open_triggers(local_tenant, REVOKED) as opened:
        yield opened


def test_the_matrix_is_large_enough_and_every_row_has_a_status_for_every_trigger():
    assert len(MATRIX) >= 60
    assert len({name for name, _, _ in MATRIX}) == len(MATRIX)
    assert all(len(expected.split()) == len(TRIGGERS) for _, expected, _ in MATRIX)


@table(("expected", "credential"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
async def test_who_is_admitted(pipelines: Pipelines, local_tenant: LocalTenant, expected: str, credential: Any):
    """Each trigger answers as the row says, and its workflow ran if and only if it answered 200."""
    headers = credential(Forge(local_tenant))
    for name, status in zip(TRIGGERS, expected.split(), strict=True):
        pipelines.ran.clear()
        answer = await pipelines.post(name, headers)
        assert (name, answer.status_code) == (name, int(status))
        assert pipelines.ran == ([name] if status == "200" else [])
        assert answer.headers["cache-control"] == "no-store"
        if status == "401":
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "unauthenticated"


async def test_a_remembered_token_is_measured_by_each_trigger_anew(pipelines: Pipelines, local_tenant: LocalTenant):
    """A token that one trigger accepts is not thereby accepted by another."""
    headers = bearer(local_tenant.token("ada"))
    statuses = [
        (await pipelines.post(name, headers)).status_code for name in ("tenant_users", "specific", "tenant_users")
    ]
    assert statuses == [200, 401, 200]


async def test_no_trigger_echoes_anything_of_a_token(pipelines: Pipelines, local_tenant: LocalTenant):
    """Neither a part of a token nor a claim of an unproved one comes back."""
    forge = Forge(local_tenant)
    for name, _, credential in MATRIX:
        headers = credential(forge)
        answer = await pipelines.post("specific", headers)
        shown = answer.text + str(answer.headers)
        for _, value in headers:
            for part in value.decode("latin-1").split("."):
                assert len(part) < 12 or part not in shown, name
