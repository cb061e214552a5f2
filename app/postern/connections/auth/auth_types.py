"""The authentication type of an entry. Each type is imported only if an entry needs it."""

from typing import TYPE_CHECKING

from postern.connections.auth.sign_in import SignIn
from postern.connections.auth.sign_in_context import SignInContext

if TYPE_CHECKING:
    from postern.settings import Auth


def sign_in(entry: str, auth: "Auth", context: SignInContext) -> SignIn | None:
    """The object that signs the requests of `entry` (`connections.NAME`); None if it needs no authentication. Nothing
    is sent yet."""
    match auth.type:
        case "none":
            return None
        case "basic":
            from postern.connections.auth.basic import Basic

            return Basic(entry, auth, context.secrets)
        case "api_key":
            from postern.connections.auth.api_key import ApiKey

            return ApiKey(entry, auth, context.secrets)
        case "oauth2":
            from postern.connections.auth.oauth2 import OAuth2

            return OAuth2(entry, auth, context.secrets, context.http, retries=context.retries)
        case "entra":
            from postern.connections.auth.entra import EntraSignIn

            return EntraSignIn(entry, auth, context)
