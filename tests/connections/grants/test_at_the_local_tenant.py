"""A grant of Entra, at the local tenant: each way in which the client proves itself, consent, refresh and refusal."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest

from postern.access.claims_request import auth_context
from postern.assembly.entra_accounts import entra_accounts
from postern.browser_secrets import new_secret
from postern.connections.faults import ConnectionFault
from postern.connections.grants.oauth_provider import OAuthProvider, provider_of
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.tokens import GrantTokens
from postern.http_client import AsyncClient, http_client
from postern.local_tenant import LocalTenant, serve
from postern.local_tenant.directory import FOREIGN_TENANT_ID, TENANT_ID
from postern.settings import GrantedAuth, load_settings
from tests.connections.entra_entries import around

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BACK = "http://127.0.0.1:8080/console/callback"
STATE, SECRET = new_secret(), new_secret()
SCOPES = ["offline_access"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTenant]:
    with serve(LocalTenant.open(tmp_path_factory.mktemp("postern") / "tenant")) as tenant:
        yield tenant


@pytest.fixture
async def http(local: LocalTenant) -> AsyncIterator[AsyncClient]:
    async with http_client(local.ca_bundle, timeout=10) as made:
        yield made


def provider(local: LocalTenant, http: AsyncClient, folder: Path, application: str, **changes: Any) -> OAuthProvider:
    """The provider of an entry that signs in as this application of the tenant."""
    settings = load_settings(
        {"POSTERN_TENANT_ID": local.tenant_id, "POSTERN_AUTHORITY": local.authority}, folder=folder
    )
    context = around(local, http=http, **changes.pop("around", {}))
    auth = GrantedAuth(
        flow="authorization_code",
        identity_provider="entra",
        client_id=local.applications[application].client_id,
        scopes=SCOPES,
        **changes,
    )
    return provider_of("graph", auth, context, entra_accounts(settings, http))


def reference(name: str) -> dict[str, str]:
    return {"key_vault": name}


async def consented(of: OAuthProvider, http: AsyncClient, person: str = "lisa", claims: str = "") -> str:
    """The code with which this person comes back."""
    url = await of.authorization_url(BACK, STATE, SECRET, claims)
    clicked = await http.post(url, data={"person": person, "consent": "allow"})
    back = dict(parse_qsl(urlsplit(clicked.headers["location"]).query))
    await of.check_issuer(back.get("iss"))
    return back["code"]


@pytest.mark.parametrize("way", ["client_secret", "federated"])
async def test_a_person_connects_and_the_tokens_are_renewed(
    local: LocalTenant, http: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
):
    own = local.applications["postern"]
    if way == "federated":
        (tmp_path / "token").write_text(local.service_account_token())
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
        of = provider(
            local, http, tmp_path, "postern", federated=True, around={"azure_credential": "workload_identity"}
        )
    else:
        of = provider(local, http, tmp_path, "postern", client_secret=reference(own.client_secret_name))
    code = await consented(of, http)
    issued = await of.redeem(code, BACK, STATE, SECRET)
    assert (issued.account, issued.tenant) == (local.people["lisa"], local.tenant_id)
    assert issued.account_name
    assert issued.seconds
    assert issued.tokens.refresh_token
    renewed = await of.refresh(issued.tokens, issued.scopes or (), issued.tenant)
    assert renewed.tokens.access_token != issued.tokens.access_token
    assert renewed.tokens.refresh_token != issued.tokens.refresh_token

    with pytest.raises(RefusedByProvider) as raised:
        await of.redeem(code, BACK, STATE, SECRET)
    assert (raised.value.code, raised.value.reason) == ("invalid_grant", "code-used")
    code = await consented(of, http, "ada")
    with pytest.raises(RefusedByProvider) as raised:
        await of.redeem(code, BACK, STATE, new_secret())  # another browser
    assert (raised.value.code, raised.value.reason) == ("invalid_grant", "code-used")


async def test_a_challenge_that_a_refresh_cannot_meet_is_met_by_a_sign_in_with_its_claims(
    local: LocalTenant, http: AsyncClient, tmp_path: Path
):
    """From then on a refresh meets it, too."""
    own, c1 = local.applications["postern"], auth_context("c1")
    of = provider(local, http, tmp_path, "postern", client_secret=reference(own.client_secret_name))
    issued = await of.redeem(await consented(of, http), BACK, STATE, SECRET)
    with pytest.raises(RefusedByProvider) as raised:
        await of.refresh(issued.tokens, issued.scopes or (), issued.tenant, c1)
    found = raised.value
    assert (found.code, found.reason, found.claims) == ("interaction_required", "mfa-required", c1)
    issued = await of.redeem(await consented(of, http, claims=found.claims), BACK, STATE, SECRET)
    renewed = await of.refresh(issued.tokens, issued.scopes or (), issued.tenant, c1)
    contexts = jwt.decode(renewed.tokens.access_token, options={"verify_signature": False}).get("acrs")
    assert contexts == ["c1"]


async def test_a_client_proves_itself_by_a_certificate(local: LocalTenant, http: AsyncClient, tmp_path: Path):
    """Entra knows the client then, and rejects the refresh token only."""
    name = local.applications["invoice-export"].certificate_name
    of = provider(local, http, tmp_path, "invoice-export", certificate=reference(name))
    with pytest.raises(RefusedByProvider) as raised:
        await of.refresh(GrantTokens("a", "not-one-of-ours"), (), "")
    assert raised.value.code == "invalid_request"


async def test_a_rejected_secret_of_entra_is_named_as_the_cause(local: LocalTenant, http: AsyncClient, tmp_path: Path):
    other = local.applications["backup-job"].client_secret_name
    of = provider(local, http, tmp_path, "postern", client_secret=reference(other))
    with pytest.raises(RefusedByProvider) as raised:
        await of.refresh(GrantTokens("a", "b"), (), "")
    assert (raised.value.code, raised.value.reason) == ("invalid_client", "client-rejected")


async def test_a_tenant_that_is_not_there_cannot_be_used(local: LocalTenant, http: AsyncClient, tmp_path: Path):
    name = local.applications["postern"].client_secret_name
    tenant = "22222222-bbbb-4222-8222-222222222222"
    of = provider(local, http, tmp_path, "postern", client_secret=reference(name), tenant=tenant)
    with pytest.raises(ConnectionFault, match=r"connections\.graph cannot be used now"):
        await of.authorization_url(BACK, STATE, SECRET)


@pytest.mark.parametrize(("person", "home"), [("lisa", TENANT_ID), ("gil", FOREIGN_TENANT_ID)])
async def test_people_of_several_tenants_connect_the_account_at_home_and_it_is_renewed_there(
    local: LocalTenant, http: AsyncClient, tmp_path: Path, person: str, home: str
):
    """The code goes to the endpoint of several tenants: at another one it is refused (AADSTS700005)."""
    name = local.applications["postern"].client_secret_name
    of = provider(local, http, tmp_path, "postern", client_secret=reference(name), tenant="organizations")
    issued = await of.redeem(await consented(of, http, person), BACK, STATE, SECRET)
    assert issued.tenant == home
    assert (issued.account == local.people[person]) is (home == TENANT_ID)
    renewed = await of.refresh(issued.tokens, issued.scopes or (), issued.tenant)
    assert renewed.tokens.refresh_token != issued.tokens.refresh_token


async def test_a_tenant_that_may_not_connect_is_refused(local: LocalTenant, http: AsyncClient, tmp_path: Path):
    """Though its person signed in."""
    name = local.applications["postern"].client_secret_name
    several = {"tenant": "organizations", "tenants": [TENANT_ID]}
    of = provider(local, http, tmp_path, "postern", client_secret=reference(name), **several)
    with pytest.raises(RefusedByProvider) as raised:
        await of.redeem(await consented(of, http, "gil"), BACK, STATE, SECRET)
    assert raised.value.reason == "tenant-not-allowed"
