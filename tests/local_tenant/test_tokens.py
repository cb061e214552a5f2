"""The tokens that the tenant mints with no server running."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from postern.local_tenant import LocalTenant, UnknownName
from postern.local_tenant.directory import FOREIGN_TENANT_ID

pytestmark = pytest.mark.slow

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> LocalTenant:
    return LocalTenant.open(
        tmp_path_factory.mktemp("postern") / "tenant", {"lisa": "A" * 8 + "-0000-0000-0000-" + "B" * 12}
    )


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def decoded(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def test_a_persons_v2_token_has_entras_claims(tenant: LocalTenant) -> None:
    """Every claim that Entra writes is there, and those of applications and of v1 are not."""
    token = tenant.token("ada", now=NOW)
    claims = claims_of(token)
    assert {**claims, "rh": "", "sub": "", "uti": ""} == {
        "aud": tenant.client_id,
        "iss": f"{tenant.authority}/{tenant.tenant_id}/v2.0",
        "iat": NOW - 300,  # as at Entra
        "nbf": NOW - 300,
        "exp": NOW + 3600,
        "acct": 0,
        "azp": claims["azp"],
        "azpacr": "0",
        "name": "Ada Okafor",
        "oid": tenant.people["ada"],
        "preferred_username": "ada@tenant.example",
        "rh": "",
        "scp": "user_impersonation",
        "sub": "",
        "tid": tenant.tenant_id,
        "uti": "",
        "ver": "2.0",
    }
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "RS256", "kid": tenant.jwks()["keys"][0]["kid"]}


def test_a_persons_v1_token_has_the_v1_names(tenant: LocalTenant) -> None:
    """The audience is the App ID URI, the issuer ends with a slash, and client and user have their old names."""
    claims = claims_of(tenant.token("ada", version=1))
    assert (claims["aud"], claims["iss"]) == ("api://postern", f"https://sts.windows.net/{tenant.tenant_id}/")
    assert (claims["ver"], claims["appidacr"], claims["unique_name"]) == ("1.0", "0", "ada@tenant.example")
    assert not {"azp", "azpacr", "preferred_username", "idtyp"} & set(claims)


def test_a_guest_is_marked(tenant: LocalTenant) -> None:
    """`acct` is 1 and `idp` another tenant's, while `tid` is ours."""
    claims = claims_of(tenant.token("gil"))
    assert (claims["acct"], claims["tid"]) == (1, tenant.tenant_id)
    assert claims["idp"] == f"https://sts.windows.net/{FOREIGN_TENANT_ID}/"


def test_scopes_and_roles_are_as_requested(tenant: LocalTenant) -> None:
    """Scopes are one text, roles a list, and an application is never given scopes."""
    claims = claims_of(tenant.token("ada", scopes=["a", "b"], roles=["Postern.Operator"]))
    assert (claims["scp"], claims["roles"]) == ("a b", ["Postern.Operator"])
    assert "scp" not in claims_of(tenant.token("ada", scopes=[]))
    assert claims_of(tenant.token("nightly-report"))["roles"] == ["Workflow.Run"]
    assert "roles" not in claims_of(tenant.token("nightly-report", roles=[]))
    with pytest.raises(ValueError, match="roles, never scopes"):
        tenant.token("nightly-report", scopes=["a"])


def test_a_given_object_id_wins(tenant: LocalTenant) -> None:
    """`[people]` decides who lisa is, in lower case; the others stay."""
    assert claims_of(tenant.token("lisa"))["oid"] == "aaaaaaaa-0000-0000-0000-bbbbbbbbbbbb"
    assert set(tenant.people) == {"ada", "lisa", "gil"}


def test_people_may_name_newcomers_and_service_principals(tmp_path: Path) -> None:
    """A new name is a new person, an application's name gives its service principal the id."""
    given = {"mary-ann": "00000000-0000-0000-0000-00000000000a", "backup-job": "00000000-0000-0000-0000-00000000000b"}
    tenant = LocalTenant.open(tmp_path / "tenant", given)
    assert claims_of(tenant.token("mary-ann"))["name"] == "Mary Ann"
    assert claims_of(tenant.token("backup-job"))["oid"] == given["backup-job"]


@pytest.mark.parametrize("version", [1, 2])
def test_forged_tokens_are_well_signed_and_wrong_in_one_thing(tenant: LocalTenant, version: Any) -> None:
    """Expired, wrong audience and other tenant differ from a good token in what they are named after."""
    good = tenant.claims("ada", version=version, now=NOW)
    options: Any
    unchecked: Any = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud"), False)
    for options, changed in (
        ({"expired": True}, {"iat", "nbf", "exp"}),
        ({"wrong_audience": True}, {"aud"}),
        ({"other_tenant": True}, {"tid", "iss"}),
    ):
        token = tenant.token("ada", version=version, now=NOW, **options)
        key = jwt.PyJWKSet.from_dict(tenant.jwks())[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            options=unchecked,
        )
        assert {name for name in good if good[name] != claims[name]} - {"rh", "uti"} == changed
    assert claims["iss"].rstrip("/").removesuffix("/v2.0").endswith(claims["tid"])


def test_mint_writes_any_claims(tenant: LocalTenant) -> None:
    """Headers are laid over the usual ones or left out, claims may be of any type or bytes, keys foreign."""
    unsigned = tenant.mint({"exp": [1]}, {"alg": "none", "kid": None, "crit": ["x"]})
    header, claims, signature = unsigned.split(".")
    assert (decoded(header), decoded(claims), signature) == (
        {"typ": "JWT", "alg": "none", "crit": ["x"]},
        {"exp": [1]},
        "",
    )
    confused = tenant.mint({"iss": 1}, {"alg": "HS256"}, b"-----BEGIN PUBLIC KEY-----")
    signed, _, signature = confused.rpartition(".")
    expected = hmac.digest(b"-----BEGIN PUBLIC KEY-----", signed.encode(), "sha256")
    assert base64.urlsafe_b64decode(signature + "=") == expected
    raw = tenant.mint(b'{"a":1,"a":2}')
    assert claims_of(raw) == {"a": 2}


def test_an_unknown_name_lists_the_known_ones(tenant: LocalTenant) -> None:
    """The error says who could have been meant."""
    with pytest.raises(UnknownName) as caught:
        tenant.token("lise")
    assert str(caught.value) == (
        "the local tenant has no person or application 'lise'; it has ada, lisa, gil, postern, nightly-report, "
        "backup-job, invoice-export, coding-agent, booking-agent, server-identity, batch-identity"
    )
    with pytest.raises(UnknownName, match="'server-identity' is a managed identity"):
        tenant.client_secret("server-identity")
    with pytest.raises(UnknownName, match="'ada' is a person"):
        tenant.client_secret("ada")


def test_a_new_signing_key_signs_and_the_former_stays_published_once(tmp_path: Path) -> None:
    """Two keys are published at most; revoking leaves the new one alone."""
    tenant = LocalTenant.open(tmp_path / "tenant")

    def kids() -> list[str]:
        return [key["kid"] for key in tenant.jwks()["keys"]]

    (first,) = kids()
    tenant.rotate_signing_key()
    second, former = kids()
    assert former == first
    assert jwt.get_unverified_header(tenant.token("ada"))["kid"] == second
    tenant.rotate_signing_key()
    assert kids()[1] == second
    tenant.rotate_signing_key(revoke=True)
    assert len(kids()) == 1
