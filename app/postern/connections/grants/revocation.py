"""Ends a grant at its provider, where that can be done."""

import json
from base64 import b64encode
from collections.abc import Mapping

from postern.connections.auth.token_response import members
from postern.connections.authorization import ClientProof, authenticated
from postern.connections.grants.sending import Received, send
from postern.connections.grants.tokens import GrantTokens
from postern.http_client import AsyncClient
from postern.settings.grant_presets import Revocation

NOT_AT_ENTRA = (
    "Microsoft Entra has no way to end the tokens of one application. The person removes it at "
    "https://myapps.microsoft.com, or an administrator revokes the person's sign-ins."
)
NO_ENDPOINT = (
    "The provider was not told, because the entry has no `revocation_url`. The person removes the application in the "
    "settings of the account there."
)
NOT_DONE = (
    "The provider did not confirm it ({}). The person removes the application in the settings of the account there."
)
INVALID_TOKEN = "invalid_token"  # noqa: S105
"""What Google and Salesforce respond for a token that has ended already, against RFC 7009, section 2.2."""

_JSON: Mapping[str, str] = {"Accept": "application/json", "Accept-Encoding": "identity"}


async def revoke_at(http: AsyncClient, kind: Revocation, url: str, proof: ClientProof, tokens: GrantTokens) -> str:
    """End the grant: "" if the provider confirmed it, else a sentence for the person. Raises RefusedByProvider if it
    cannot be reached."""
    if kind == "github":
        received = await _at_github(http, url, proof, tokens.access_token)
    elif kind == "facebook":
        headers = {**_JSON, "Authorization": f"Bearer {tokens.access_token}"}
        received = await send(http, "DELETE", url, headers)
    else:
        received = await _by_rfc7009(http, url, proof, tokens)
    status = received.answer.status
    ended = 200 <= status <= 299 or members(received.answer.body).get("error") == INVALID_TOKEN
    return "" if ended else NOT_DONE.format(f"status {status}")


async def _by_rfc7009(http: AsyncClient, url: str, proof: ClientProof, tokens: GrantTokens) -> Received:
    """RFC 7009, section 2.1: with the refresh token all tokens of the grant end."""
    from authlib.common.urls import add_params_to_qs  # type: ignore[import-untyped]

    kind = "refresh_token" if tokens.refresh_token else "access_token"
    body = add_params_to_qs("", [("token", tokens.refresh_token or tokens.access_token), ("token_type_hint", kind)])
    request = authenticated(url, body, proof)
    return await send(http, "POST", request.url, request.headers, request.body)


async def _at_github(http: AsyncClient, url: str, proof: ClientProof, access_token: str) -> Received:
    """GitHub, "Delete an app authorization": all tokens of the person for this application end."""
    basic = b64encode(f"{proof.client_id}:{proof.secret}".encode()).decode()
    headers = {**_JSON, "Authorization": f"Basic {basic}", "Content-Type": "application/json"}
    address = url.replace("{client_id}", proof.client_id)
    return await send(http, "DELETE", address, headers, json.dumps({"access_token": access_token}))
