"""The authentication type of an entry. Each type is imported only if an entry needs it."""

from typing import TYPE_CHECKING

from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.sign_in_context import SignInContext
from postern.connections.faults import ConnectionFault
from postern.settings import ApiKeyAuth, BasicAuth, EntraAuth, GrantedAuth, NoAuth, OAuth2Auth, OnBehalfOfAuth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from postern.settings import Auth, SecretReference


def sign_in(
    entry: str, auth: "Auth", context: SignInContext, headers: "Mapping[str, SecretReference] | None" = None
) -> SignIn | None:
    """The object that signs the requests of `entry` (`connections.NAME`), with the further `headers` of the entry; None
    if it needs no authentication. Nothing is sent yet."""
    way = _way(entry, auth, context)
    if not headers:
        return way
    from postern.connections.auth.api_key import ApiKey
    from postern.connections.auth.together import Together

    keys = [
        ApiKey(entry, ApiKeyAuth(header=name, key=key), context.secrets, f"headers.{name}")
        for name, key in headers.items()
    ]
    return Together([way, *keys] if way is not None else keys)


def _way(entry: str, auth: "Auth", context: SignInContext) -> SignIn | None:
    match auth:
        case NoAuth():
            return None
        case BasicAuth():
            from postern.connections.auth.basic import Basic

            return Basic(entry, auth, context.secrets)
        case ApiKeyAuth():
            from postern.connections.auth.api_key import ApiKey

            return ApiKey(entry, auth, context.secrets)
        case OAuth2Auth():
            from postern.connections.auth.oauth2 import OAuth2

            return OAuth2(entry, auth, context.secrets, context.http, retries=context.retries)
        case EntraAuth():
            from postern.connections.auth.entra import EntraSignIn

            return EntraSignIn(entry, auth, context)
        case GrantedAuth() | OnBehalfOfAuth():
            raise ConnectionFault(entry, "is used for a person", "Use it in a run of that person")
