"""People of several tenants sign in at `organizations` and `common` of the local tenant, with their account at home."""

from typing import Any

import jwt
import pytest

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant
from postern.local_tenant.accounts import account, check_application, with_object_id
from postern.local_tenant.directory import FOREIGN_TENANT_ID, TENANT_ID, Application
from postern.local_tenant.errors import EntraError
from tests.local_tenant.browser import CALLBACK, Browser, answer

pytestmark = pytest.mark.anyio

SCOPES = "openid profile offline_access User.Read"


class At:
    """The endpoints of one tenant, or of several."""

    def __init__(self, browser: Browser, at: str) -> None:
        self.browser = browser
        self.at = at

    async def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = (
            await self.browser.client.get(f"/{self.at}/v2.0/.well-known/openid-configuration")
        ).json()
        return found

    async def page(self) -> Response:
        address = (await self.metadata())["authorization_endpoint"]
        return await self.browser.client.get(address, params=self.browser.parameters(scope=SCOPES))

    async def allow(self, person: str) -> Response:
        address = (await self.metadata())["authorization_endpoint"]
        form = {"person": person, "consent": "allow"}
        return await self.browser.client.post(address, params=self.browser.parameters(scope=SCOPES), data=form)

    async def tokens(self, **form: str) -> Response:
        own = {
            "client_id": self.browser.tenant.client_id,
            "client_secret": self.browser.tenant.client_secret("postern"),
        }
        return await self.browser.client.post((await self.metadata())["token_endpoint"], data={**own, **form})

    async def redeem(self, code: str) -> Response:
        return await self.tokens(
            grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=self.browser.verifier
        )


def claims(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


@pytest.fixture
def browser(tenant: LocalTenant, client: AsyncClient) -> Browser:
    return Browser(tenant, client)


@pytest.mark.parametrize(
    ("at", "issuer"),
    [
        ("organizations", "{tenantid}"),
        ("common", "{tenantid}"),
        (TENANT_ID, TENANT_ID),
        (FOREIGN_TENANT_ID, FOREIGN_TENANT_ID),
    ],
)
async def test_the_issuer_of_several_tenants_is_a_template(
    tenant: LocalTenant, browser: Browser, at: str, issuer: str
) -> None:
    found = await At(browser, at).metadata()
    assert found["issuer"] == f"{tenant.authority}/{issuer}/v2.0"
    assert found["token_endpoint"] == f"{tenant.authority}/{at}/oauth2/v2.0/token"
    keys = (await browser.client.get(found["jwks_uri"])).json()["keys"]
    assert {key["issuer"] for key in keys} == {f"{tenant.authority}/{{tenantid}}/v2.0"}


@pytest.mark.parametrize("at", ["organizations", "common"])
@pytest.mark.parametrize(("person", "home"), [("lisa", TENANT_ID), ("gil", FOREIGN_TENANT_ID)])
async def test_tokens_are_of_the_account_at_home(
    tenant: LocalTenant, browser: Browser, at: str, person: str, home: str
) -> None:
    """A guest has another object id there. The refresh token is bound to no tenant."""
    several = At(browser, at)
    tokens = (await several.redeem(answer(await several.allow(person))["code"])).json()
    of_id = claims(tokens["id_token"])
    assert (of_id["tid"], of_id["iss"]) == (home, f"{tenant.authority}/{home}/v2.0")
    assert (of_id["oid"] == tenant.people[person]) is (home == TENANT_ID)
    assert "idp" not in of_id
    me = await browser.client.get("/graph/v1.0/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert (me.json()["id"], me.json()["mail"]) == (of_id["oid"], of_id["preferred_username"])
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "scope": SCOPES}
    for each in (several, At(browser, home)):
        renewed = await each.tokens(**form)
        assert claims(renewed.json()["id_token"])["tid"] == home
    here = claims((await At(browser, TENANT_ID).tokens(**form)).json()["id_token"])
    assert (here["tid"], here["oid"]) == (TENANT_ID, tenant.people[person])


async def test_a_code_is_redeemed_where_it_was_issued(browser: Browser) -> None:
    code = answer(await At(browser, "organizations").allow("lisa"))["code"]
    for elsewhere in ("common", TENANT_ID):
        refused = (await At(browser, elsewhere).redeem(code)).json()
        assert (refused["error"], refused["error_codes"]) == ("invalid_grant", [700005])
    assert (await At(browser, "organizations").redeem(code)).status_code == 200


async def test_only_people_of_a_tenant_sign_in_at_its_own_endpoint(browser: Browser) -> None:
    page = await At(browser, FOREIGN_TENANT_ID).page()
    assert ("Gil Amaro" in page.text, "Lisa Moreau" in page.text) == (True, False)
    assert answer(await At(browser, FOREIGN_TENANT_ID).allow("lisa"))["error_description"].startswith("AADSTS50034:")
    code = answer(await At(browser, TENANT_ID).allow("lisa"))["code"]
    token = (await At(browser, TENANT_ID).redeem(code)).json()["refresh_token"]
    refused = await At(browser, FOREIGN_TENANT_ID).tokens(grant_type="refresh_token", refresh_token=token)
    assert refused.json()["error_codes"] == [50020]


async def test_an_application_acts_as_itself_in_its_own_tenant_only(browser: Browser) -> None:
    scope = "https://graph.microsoft.com/.default"
    refused = await At(browser, "organizations").tokens(grant_type="client_credentials", scope=scope)
    assert refused.json()["error_codes"] == [90002]


async def test_an_application_of_one_tenant_is_refused_at_several(tenant: LocalTenant, browser: Browser) -> None:
    one = tenant.applications["nightly-report"]
    for at, refused in ((TENANT_ID, False), ("organizations", True), ("common", True), (FOREIGN_TENANT_ID, True)):
        assert _is_refused(one, at) is refused
    form = {"client_id": one.client_id, "client_secret": tenant.client_secret(one.name)}
    answered = await browser.client.post(
        "/organizations/oauth2/v2.0/token", data={**form, "grant_type": "refresh_token", "refresh_token": "x"}
    )
    assert answered.json()["error_codes"] == [50194]


def _is_refused(application: Application, at: str) -> bool:
    try:
        check_application(application, at)
    except EntraError as error:
        return error.code == 50194
    return False


async def test_an_object_id_is_of_one_account(tenant: LocalTenant) -> None:
    people = tenant.directory.people
    gil = account(people["gil"], "organizations")
    assert gil is not None
    assert with_object_id(people.values(), gil.person.object_id) == gil.person
    assert with_object_id(people.values(), tenant.people["gil"]) == people["gil"]
    assert with_object_id(people.values(), "0") is None
