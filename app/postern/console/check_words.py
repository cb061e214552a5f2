"""Every check of a token or caller in words: what it makes sure of, and what to do where it fails. Pure."""

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """`about` is what holds if the check passes, `wrong` what was wrong if it failed, and `ask` what to do then."""

    about: str
    wrong: str
    ask: str


_OTHER_SIDE = "The client has to send the token exactly as Entra issued it"
_ENTRA = "Request the token from Entra, from the sign-in address of this tenant"
_SIGN_IN = "Sign in again, from the console's own page"
_NEW_LINK = "Make a new signed URL for the sender"
_CLOCK = "Compare the clocks of the server and of the client"

CHECKS: Mapping[str, Words] = {
    "credentials": Words(
        "The request has an access token",
        "The request had no access token",
        "Send the header Authorization: Bearer with an access token",
    ),
    "authorization-header": Words(
        "The Authorization header has one token",
        "The Authorization header was malformed",
        "Send one Authorization header with one token. Look for quotes or line breaks that were copied along",
    ),
    "form": Words("The token can be read", "It is not a token that can be read", _OTHER_SIDE),
    "algorithm": Words("The token is signed with RS256", "The token is signed in another way", _ENTRA),
    "critical": Words("The token has no critical extensions", "The token has critical extensions", _ENTRA),
    "plain-payload": Words("The claims are plain JSON", "The claims are compressed or nested", _ENTRA),
    "token-type": Words("The token is a JWT", "The token is of another type", _ENTRA),
    "key-id": Words("The token names its signing key", "The token names no signing key", _ENTRA),
    "known-tenant": Words(
        "The token is of a tenant that this server accepts",
        "The token is of another tenant",
        "Sign in to a tenant that is expected here. An author admits other tenants with tenants=",
    ),
    "key-published": Words(
        "The tenant publishes the signing key",
        "The tenant publishes no such signing key",
        "Request the token for this server's own scope: tokens for other APIs may have keys of their own",
    ),
    "sender-signature": Words(
        "The sender signed the request",
        "The request was not signed by the sender",
        "Compare the secret in Key Vault with the sender's. Nothing on the way may change the body",
    ),
    "signature": Words("The signature is of that key", "The signature is not of that key", _OTHER_SIDE),
    "issuer": Words("The tenant issued the token", "Another issuer made the token", _ENTRA),
    "tenant": Words("Issuer and tenant agree", "Issuer and tenant do not agree", _ENTRA),
    "version": Words("Version and issuer agree", "Version and issuer do not agree", _ENTRA),
    "object-id": Words(
        "The token names the caller's object id",
        "The token names no object id",
        "Request a token for a user or an application of the tenant",
    ),
    "audience-form": Words("The token names one audience", "The token names no single audience", _ENTRA),
    "times": Words("The token has its times", "The token has no usable times", _ENTRA),
    "expiry": Words("The token has not expired", "The token had expired", "The client has to request a new token"),
    "not-before": Words("The token is valid already", "The token was not valid yet", _CLOCK),
    "revoked": Words(
        "No operator has ended this access",
        "An operator had ended this access, or revoked the token",
        "The client has to request a new token. An operator takes a revocation back at /console/revocations",
    ),
    "issued-at": Words("The token was issued in the past", "The token was issued in the future", _CLOCK),
    "access-token": Words(
        "It is an access token",
        "It is an ID token, which is for the application that signed in",
        "The client has to send its access token, not the ID token",
    ),
    "proof-of-possession": Words(
        "It is a bearer token", "The token is bound to a key", "Request a bearer token, without proof of possession"
    ),
    "claims": Words("The claims have the right types", "A claim has the wrong type", _ENTRA),
    "tenant-allowed": Words(
        "The workflow admits the caller's tenant",
        "The workflow does not admit the caller's tenant",
        "The author admits other tenants with tenants=",
    ),
    "audience": Words(
        "The token is for this server",
        "The token is for another server",
        "The client has to request a token with the scope of this server",
    ),
    "people-only": Words(
        "The caller is a person",
        "The caller is an application",
        "Sign in as a person. The author admits applications by leaving out apps=False",
    ),
    "no-guests": Words(
        "The caller is no guest",
        "The caller is a guest of the tenant",
        "Call as a member of the tenant. The author admits guests by leaving out guests=False",
    ),
    "no-agents": Words(
        "The caller is no agent",
        "The caller is an agent",
        "Call without an agent. The author admits agents by leaving out agents=False",
    ),
    "mcp-only": Words(
        "The token is good outside of /mcp",
        "The token is for /mcp only",
        "Request a token with another scope than that of POSTERN_MCP_SCOPE",
    ),
    "client": Words(
        "The token is of an application that is expected here",
        "The token is of another application",
        "Use an application that is expected here, or ask the author to add this one to clients=",
    ),
    "scope": Words(
        "The token has a scope that the workflow requires",
        "The token lacks the scope that the workflow requires",
        "The client has to request a scope that is expected here, and a person or administrator has to consent to it",
    ),
    "role": Words(
        "The caller has an app role that the workflow requires",
        "The caller lacks the app role that the workflow requires",
        "An administrator assigns the app role in Entra, under Enterprise applications. Then request a new token",
    ),
    "listed": Words(
        "The caller is on the workflow's list",
        "The caller is not on the workflow's list",
        "The author adds the object id to specific_users(), or its name in [people] of postern.toml",
    ),
    "auth-context": Words(
        "The sign-in met the authentication context that the workflow requires",
        "The sign-in did not meet the authentication context that the workflow requires",
        "The caller signs in again: clients with the capability cp1 get a challenge. If Entra asks for nothing more, "
        "an administrator assigns a Conditional Access policy to that authentication context",
    ),
    "network": Words(
        "The request comes from an allowed network",
        "The request comes from another network",
        "Call from an allowed network. The author adds one with networks=, the operator in POSTERN_ALLOWED_NETWORKS. "
        "Behind a proxy, the operator names the proxy in POSTERN_TRUSTED_PROXIES",
    ),
    "link-missing": Words(
        "The request has a signed URL",
        "The request has no signed URL",
        "The trigger takes signed URLs only: make one for the sender",
    ),
    "link-and-token": Words(
        "The signed URL came alone",
        "A signed URL came with an Authorization header",
        "The sender has to leave the header out",
    ),
    "link-form": Words(
        "The signed URL is as it was printed",
        "The signed URL is not as it was printed",
        "The sender has to send its query byte for byte, and to append other parameters at its end",
    ),
    "link-signature": Words(
        "The signature is of a key of this workflow", "The signature is of no key of this workflow", _NEW_LINK
    ),
    "link-unknown": Words("This server made the signed URL", "This server has no such signed URL", _NEW_LINK),
    "link-revoked": Words("The signed URL is not revoked", "An operator had revoked the signed URL", _NEW_LINK),
    "link-expired": Words("The signed URL has not expired", "The signed URL had expired", _NEW_LINK),
    "link-method": Words("The signed URL is for this method", "The signed URL is for other methods", _NEW_LINK),
    "operator": Words(
        "The person is an operator",
        "The person is no operator",
        "An administrator assigns the app role Postern.Operator, or adds the object id to POSTERN_OPERATORS",
    ),
    "state": Words("The sign-in was started here", "The sign-in was not started here, or is over", _SIGN_IN),
    "browser": Words("The sign-in was started in this browser", "It was started in another browser", _SIGN_IN),
    "id-token": Words("It is an ID token", "It is not an ID token", _SIGN_IN),
    "id-token-version": Words("The ID token is of version 2.0", "The ID token is of another version", _SIGN_IN),
    "nonce": Words("The ID token is for this sign-in", "The ID token is for another sign-in", _SIGN_IN),
    "at_hash": Words("The access token belongs to it", "The access token does not belong to it", _SIGN_IN),
    "c_hash": Words("The code belongs to it", "The code does not belong to it", _SIGN_IN),
}


def about(name: str) -> str:
    """What the check makes sure of; "" if this release does not know it."""
    return CHECKS[name].about if name in CHECKS else ""


def wrong(name: str) -> str:
    """What was wrong if the check failed; "" if this release does not know it."""
    return CHECKS[name].wrong if name in CHECKS else ""
