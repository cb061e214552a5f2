"""Clients of the Model Context Protocol get tokens of the local tenant as they would at Entra: the SDK's own client
signs in, beside requests that clients send in other ways."""

import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from httpx2 import ASGITransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postern.http_client import AsyncClient, tls
from postern.http_client import Response as Answer
from postern.local_tenant import LocalTenant
from tests.local_tenant.browser import Browser

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SERVER = "http://127.0.0.1:8080"
RESOURCE = f"{SERVER}/mcp"
CALLBACK = "http://localhost:51763/callback"
DEFAULT = f"{RESOURCE}/.default"
METADATA = "/.well-known/oauth-protected-resource/mcp"


@pytest.fixture
def served(tenant: LocalTenant) -> LocalTenant:
    """The tenant, with a server beside it."""
    tenant.set_server_url(SERVER)
    return tenant


@pytest.fixture
def browser(served: LocalTenant, client: AsyncClient) -> Browser:
    return Browser(served, client)


class Server:
    """What a client sees of `/mcp`: a 401 that leads to the metadata, and the claims of its token. `scopes` is what the
    metadata advertises."""

    def __init__(self, tenant: LocalTenant, scopes: list[str]) -> None:
        self.tenant = tenant
        self.scopes = scopes
        self.app = Starlette(routes=[Route("/mcp", self.mcp), Route(METADATA, self.metadata)])

    async def mcp(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        claims = self.tenant.verify(token, self.tenant.client_id, time.time()) if token else None
        if claims is not None:
            return JSONResponse(claims)
        scope = f', scope="{" ".join(self.scopes)}"' if self.scopes else ""
        challenge = f'Bearer resource_metadata="{SERVER}{METADATA}"{scope}'
        return Response(status_code=401, headers={"WWW-Authenticate": challenge})

    async def metadata(self, _: Request) -> Response:
        scopes = {"scopes_supported": self.scopes} if self.scopes else {}
        servers = [self.tenant.issuers[1]]
        return JSONResponse({"resource": RESOURCE, "authorization_servers": servers, **scopes})


class Storage:
    """The tokens of one client, which is registered."""

    def __init__(self, client_id: str, secret: str | None = None) -> None:
        from mcp.shared.auth import OAuthClientInformationFull

        self.tokens: Any = None
        self.client = OAuthClientInformationFull(
            client_id=client_id,
            client_secret=secret,
            redirect_uris=[CALLBACK],
            token_endpoint_auth_method="none" if secret is None else "client_secret_post",
        )

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        raise AssertionError("the tenant registers no client")


class Person:
    """Signs in as lisa in the browser to which the client sends her."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.sent: dict[str, str] = {}
        self.back: dict[str, str] = {}

    async def sign_in(self, address: str) -> None:
        self.sent = dict(parse_qsl(urlsplit(address).query))
        response = await self.client.post(address, data={"person": "lisa", "consent": "allow"})
        location = response.headers["location"]
        assert location.startswith(CALLBACK)
        self.back = dict(parse_qsl(urlsplit(location).query))

    async def code(self) -> Any:
        from mcp.shared.auth import AuthorizationCodeResult

        if "error" in self.back:
            raise PermissionError(self.back["error_description"])
        return AuthorizationCodeResult(code=self.back["code"], state=self.back["state"])


def provider_of(storage: Storage, person: Person) -> Any:
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientMetadata

    metadata = OAuthClientMetadata(
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method=storage.client.token_endpoint_auth_method,
    )
    return OAuthClientProvider(RESOURCE, metadata, storage, person.sign_in, person.code)


def service_of(tenant: LocalTenant, name: str) -> Any:
    from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

    application = tenant.applications[name]
    storage = Storage(application.client_id, tenant.client_secret(name))
    return ClientCredentialsOAuthProvider(
        RESOURCE, storage, application.client_id, tenant.client_secret(name), issuer=tenant.issuers[1]
    )


async def call(tenant: LocalTenant, server: Server, auth: Any) -> Answer:
    """A request to the server by the SDK's client, which trusts the tenant."""
    mounts = {SERVER: ASGITransport(server.app)}
    async with AsyncClient(verify=tls(tenant.ca_bundle), mounts=mounts, auth=auth, trust_env=False) as client:
        return await client.get(RESOURCE)


@pytest.mark.parametrize("scopes", [[DEFAULT], [f"{RESOURCE}/Tools.Call"]])
async def test_the_sdks_client_signs_a_person_in_by_a_public_client(served: LocalTenant, client: AsyncClient, scopes):
    """401, metadata, discovery, the page, the code with PKCE, the token, the call; then a refresh."""
    storage, person = Storage(served.applications["coding-agent"].client_id), Person(client)
    answer = await call(served, Server(served, scopes), provider_of(storage, person))
    assert answer.status_code == 200
    claims = answer.json()
    assert (person.sent["resource"], person.sent["code_challenge_method"]) == (RESOURCE, "S256")
    assert (claims["aud"], claims["ver"], claims["azpacr"]) == (served.client_id, "2.0", "0")
    assert (claims["oid"], claims["azp"]) == (served.people["lisa"], storage.client.client_id)
    assert claims["scp"] == ("user_impersonation" if scopes == [DEFAULT] else "Tools.Call")
    refreshed = await client.post(
        f"/{served.tenant_id}/oauth2/v2.0/token",
        data={
            "grant_type": "refresh_token",
            "refresh_token": storage.tokens.refresh_token,
            "client_id": storage.client.client_id,
            "resource": RESOURCE,
        },
    )
    assert refreshed.status_code == 200


@pytest.mark.parametrize(
    ("name", "scopes", "code"),
    [
        ("nightly-report", [DEFAULT], 0),
        ("booking-agent", [DEFAULT], 0),
        ("nightly-report", [f"{RESOURCE}/Tools.Call"], 1002012),
        ("nightly-report", [], 1002012),  # the client falls back on the scopes of the tenant's own metadata
    ],
)
async def test_the_sdks_client_gets_a_service_a_token_with_the_default_scope_only(
    served: LocalTenant, name: str, scopes: list[str], code: int
):
    auth = service_of(served, name)
    if not code:
        claims = (await call(served, Server(served, scopes), auth)).json()
        assert (claims["aud"], claims["idtyp"]) == (served.client_id, "app")
        assert (claims["azp"], claims["roles"]) == (served.applications[name].client_id, ["Workflow.Run"])
        assert ("xms_par_app_azp" in claims) is (name == "booking-agent")
        return
    with pytest.raises(Exception, match=f"AADSTS{code}"):
        await call(served, Server(served, scopes), auth)


async def test_without_an_advertised_scope_no_person_can_sign_in(served: LocalTenant, client: AsyncClient):
    """The client requests the tenant's own scopes, which are no scopes of the resource."""
    storage, person = Storage(served.applications["coding-agent"].client_id), Person(client)
    with pytest.raises(PermissionError, match="AADSTS9010010"):
        await call(served, Server(served, []), provider_of(storage, person))
    assert DEFAULT not in person.sent["scope"]


async def test_a_person_signs_in_through_an_agent_which_the_token_names(served: LocalTenant, client: AsyncClient):
    agent = served.applications["booking-agent"]
    storage, person = Storage(agent.client_id, served.client_secret("booking-agent")), Person(client)
    claims = (await call(served, Server(served, [DEFAULT]), provider_of(storage, person))).json()
    assert (claims["oid"], claims["azp"], claims["azpacr"]) == (served.people["lisa"], agent.client_id, "1")
    assert claims["xms_par_app_azp"] == agent.blueprint
    assert "11" in claims["xms_act_fct"].split()
    assert "xms_sub_fct" not in claims


@pytest.mark.parametrize(
    ("scope", "resource", "code"),
    [
        (DEFAULT, RESOURCE, 0),
        (DEFAULT, None, 0),
        (f"openid offline_access {DEFAULT}", RESOURCE, 0),
        (DEFAULT, f"{RESOURCE}/", 9010010),
        (DEFAULT, SERVER, 9010010),
        (f"{RESOURCE}//.default", RESOURCE, 9010010),
        ("api://postern/.default", RESOURCE, 9010010),
        ("Tools.Call", RESOURCE, 9010010),
        (f"{SERVER}/elsewhere/.default", f"{SERVER}/elsewhere", 500011),
        (f"{DEFAULT} {RESOURCE}/Tools.Call", RESOURCE, 70011),
        (None, RESOURCE, 900144),
    ],
)
async def test_resource_and_scope_have_to_name_the_same_resource(
    browser: Browser, scope: str | None, resource: str | None, code: int
):
    """At the page for people, and of an application at the token endpoint."""
    changes: dict[str, Any] = {"scope": scope or ..., "resource": resource or ...}
    response = await browser.allow("lisa", **changes)
    back = dict(parse_qsl(urlsplit(response.headers["location"]).query))
    assert ("code" in back) is (code == 0)
    assert code == 0 or back["error_description"].startswith(f"AADSTS{code}:")
    assert code != 9010010 or back["error"] == "invalid_target"
    if scope is not None and " " not in scope and "/" in scope:
        assert error_of(await of_application(browser, scope=scope, resource=resource)) == code


@pytest.mark.parametrize(("resource", "code"), [(RESOURCE, 0), (None, 0), (SERVER, 9010010)])
async def test_a_code_is_redeemed_with_the_resource_that_it_was_requested_for(
    browser: Browser, resource: str | None, code: int
):
    given = await browser.code("lisa", scope=DEFAULT, resource=RESOURCE)
    assert error_of(await browser.exchange(given, resource=resource or ...)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"client_secret": "anything"}, 700025),
        ({"code_verifier": "x" * 43}, 501481),
        ({"redirect_uri": "http://localhost:1/callback"}, 500112),
        ({"grant_type": "client_credentials", "scope": DEFAULT}, 7000218),
    ],
)
async def test_a_public_client_needs_its_verifier_and_no_secret(browser: Browser, changes: dict[str, Any], code: int):
    client_id = browser.tenant.applications["coding-agent"].client_id
    own = {"client_id": client_id, "redirect_uri": "http://127.0.0.1:40001/"}
    given = answer_code(await browser.allow("lisa", scope=DEFAULT, **own))
    response = await browser.exchange(given, **{"client_secret": ..., **own, **changes})
    assert error_of(response) == code


async def test_the_sdk_finds_the_metadata_at_its_third_address(served: LocalTenant, client: AsyncClient):
    from mcp.client.auth.utils import build_oauth_authorization_server_metadata_discovery_urls as addresses

    urls = addresses(served.issuers[1], RESOURCE)
    statuses = [(await client.get(url)).status_code for url in urls]
    assert statuses[:3] == [404, 404, 200]
    assert urls[2].endswith("/v2.0/.well-known/openid-configuration")
    assert "registration_endpoint" not in (await client.get(urls[2])).json()


async def test_a_token_of_the_resource_is_of_version_2_for_the_client_id_and_the_old_form_stays(browser: Browser):
    for scope, audience, version in (
        (DEFAULT, browser.tenant.client_id, "2.0"),
        ("api://postern/.default", "api://postern", "1.0"),
    ):
        response = await of_application(browser, scope=scope, resource=None)
        claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
        assert (claims["aud"], claims["ver"]) == (audience, version)


async def of_application(browser: Browser, *, scope: str, resource: str | None) -> Any:
    """What an application gets for itself."""
    form: dict[str, str] = {
        "grant_type": "client_credentials",
        "client_id": browser.tenant.applications["nightly-report"].client_id,
        "client_secret": browser.tenant.client_secret("nightly-report"),
        "scope": scope,
        **({"resource": resource} if resource is not None else {}),
    }
    return await browser.client.post(f"/{browser.tenant.tenant_id}/oauth2/v2.0/token", data=form)


def error_of(response: Any) -> int:
    document = json.loads(response.content)
    return 0 if response.status_code == 200 else int(document["error_codes"][0])


def answer_code(response: Any) -> str:
    return str(dict(parse_qsl(urlsplit(response.headers["location"]).query))["code"])
