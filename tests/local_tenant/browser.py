"""A browser that signs people in at the local tenant, and the application that sent it there."""

import base64
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from postern.http_client import AsyncClient, Response
from postern.local_tenant import LocalTenant

CALLBACK = "http://127.0.0.1:8080/console/callback"


@dataclass
class Browser:
    """One attempt to sign in. `changes` to `...` leave a parameter of the request out."""

    tenant: LocalTenant
    client: AsyncClient
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def parameters(self, **changes: Any) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        made = {
            "client_id": self.tenant.client_id,
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "response_mode": "query",
            "scope": "openid profile",
            "state": "the-state",
            "nonce": "the-nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in made.items() if value is not ...}

    async def metadata(self) -> dict[str, Any]:
        response = await self.client.get(f"/{self.tenant.tenant_id}/v2.0/.well-known/openid-configuration")
        found: dict[str, Any] = response.json()
        return found

    async def page(self, **changes: Any) -> Response:
        """What the authorization endpoint shows first."""
        address = (await self.metadata())["authorization_endpoint"]
        return await self.client.get(address, params=self.parameters(**changes))

    async def choose(self, person: str, **changes: Any) -> Response:
        """What it answers to a click on a person's button; "" is the one that cancels."""
        return await self.click({"person": person}, **changes)

    async def click(self, form: dict[str, str], **changes: Any) -> Response:
        """What it answers to a form."""
        address = (await self.metadata())["authorization_endpoint"]
        return await self.client.post(address, params=self.parameters(**changes), data=form)

    async def allow(self, person: str, **changes: Any) -> Response:
        """What it answers to Allow."""
        return await self.click({"person": person, "consent": "allow"}, **changes)

    async def code(self, person: str = "ada", **changes: Any) -> str:
        return answer(await self.allow(person, **changes))["code"]

    async def exchange(self, code: str, /, **changes: Any) -> Response:
        form = {
            "grant_type": "authorization_code",
            "client_id": self.tenant.client_id,
            "client_secret": self.tenant.client_secret("postern"),
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
            **changes,
        }
        given = {name: value for name, value in form.items() if value is not ...}
        return await self.client.post(f"/{self.tenant.tenant_id}/oauth2/v2.0/token", data=given)


def answer(response: Response, to: str = CALLBACK) -> dict[str, str]:
    """The parameters with which a browser is sent back, all of them single."""
    assert response.status_code == 303
    address = urlsplit(response.headers["location"])
    assert address._replace(query="").geturl() == to
    return {name: value for name, (value,) in parse_qs(address.query, keep_blank_values=True).items()}
