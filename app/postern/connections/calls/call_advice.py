"""How to fix a failed call. All functions are pure. Of what was sent and received, only known error codes are
repeated."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urljoin

from postern.authoring.call_result import CallError
from postern.connections.calls.call_response import is_signed
from postern.connections.calls.targets import Target
from postern.connections.unreached import remedy
from postern.errors import PROBLEMS, TOO_MANY_CALLS
from postern.http_client import USER_AGENT, ReadTimeout, Response, WriteTimeout
from postern.media_types import is_json
from postern.settings import EntraAuth, NoAuth
from postern.settings.presets import POWER_AUTOMATE_AUDIENCES

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_CLAIMS = "MisMatchingOAuthClaims"
_KNOWN_CODES = frozenset(
    {*PROBLEMS, "workflow-problem", _CLAIMS, "DirectApiAuthorizationRequired", "DirectApiInvalidAuthorization"}
)
"""The codes of another server that may be quoted. It may have made any other code from what it received."""
_METHODS = re.compile(r"[A-Z]+(, ?[A-Z]+)*")


def sentence(target: Target, response: Response, code: object, tenant_id: str | None) -> str:
    """The text of an error response."""
    status = response.status_code
    known = isinstance(code, str) and (code in _KNOWN_CODES or (target.own and _CODE.fullmatch(code)))
    said = f"{target.entry} returned {status}{f' ({code})' if known else ''}"
    if 300 <= status <= 399:
        return f"{said}. {_redirected(target, response)}"
    if status == 401 or code == _CLAIMS:  # which Power Automate answers with 403
        return f"{said}. {_unauthenticated(target, tenant_id)}"
    if status == 405:
        allowed = str(response.headers.get("Allow", ""))
        if _METHODS.fullmatch(allowed):
            return f"{said}. It allows {allowed}: set method=."
    if status == 403:
        return f"{said}. {_forbidden(target, response)}"
    fix = _FIXES.get(status)
    return f"{said}. {fix(target)}" if fix is not None else f"{said}."


def of_result(target: Target, response: Response, *, bare: bool) -> str:
    """The text of an error response to a look for a later result, which has causes of its own; "" if it has none."""
    said = f"{target.entry} returned {response.status_code} for the result of the call"
    if response.status_code in (404, 405):
        return f"{said}."
    if response.status_code in (401, 403) and bare:
        signed = is_signed(str(response.url))
        why = "its address has a signature" if signed else "its address is at another origin, or was named by one"
        return f"{said}, which is fetched without the credential because {why}."
    return ""


def unreached(target: Target, error: Exception, *, sent: bool) -> CallError:
    """The error of a call without a response. The error's own text is left out because it may contain the URL."""
    kind = type(error).__name__
    what = f"sent no response ({kind})" if sent else f"cannot be reached ({kind})"
    fix = remedy(error)
    advice = f"{fix}." if fix else _broken(error) if sent else _address(target)
    return CallError(target.entry, f"{target.entry} {what}. {advice}", sent=sent)


def _broken(error: Exception) -> str:
    """The fix for a connection that was there, and gave no whole response."""
    if isinstance(error, ReadTimeout | WriteTimeout):
        return "It was reached, and did not respond in time: have it respond with 202 and a Location if it takes long."
    return (
        "It was reached, and broke the connection off: look at its log, and at that of a proxy in front of it. It may "
        "require a client certificate, and Postern sends none."
    )


FEWER = "Make fewer calls at a time, or shorter ones"


def too_many(target: Target) -> CallError:
    """The error of a call that got no connection, because too many runs wait for one. It is the caller's error too: the
    run that made the call did its part."""
    return CallError(
        target.entry,
        f"{target.entry} was not called: too many runs wait for their calls of it. {FEWER}.",
        status=PROBLEMS[TOO_MANY_CALLS].status,
        problem={"code": TOO_MANY_CALLS},
        sent=False,
    )


def more_elements(target: Target) -> str:
    """The fix for a reply that has too many elements."""
    if target.own:
        return f"Let {target.entry} return less at a time."
    return f"Request less at a time, or raise max_response_elements of [{target.entry}]."


def elsewhere(target: Target) -> str:
    """The fix for a result at another origin."""
    if target.own:
        return "Check POSTERN_PUBLIC_URL: a workflow's result is at that address."
    return f'If results are there, name the origin: results_at = ["https://host"] in [{target.entry}].'


def doubts(target: Target) -> str:
    """A likely mistake in the audience; "" if there is none. The settings already reject Power Automate's audience with
    a missing or doubled slash."""
    audience = target.audience
    if audience in POWER_AUTOMATE_AUDIENCES.values():
        return ""
    if target.flow:
        return (
            "The audience of a flow is Power Automate's own, https://service.flow.microsoft.com/ in the public cloud. "
        )
    if audience.endswith("/"):
        return "Check the slash at the end: audiences of Postern and Application ID URIs seldom have one. "
    return ""


def _redirected(target: Target, response: Response) -> str:
    """Many systems answer a request without a valid credential with a redirect to a sign-in page."""
    if target.own:
        return "Redirects are not followed: set POSTERN_PUBLIC_URL to the address that it redirects to."
    try:
        own = target.is_at_own_origin(urljoin(target.url, str(response.headers.get("Location", ""))))
    except ValueError:
        own = False
    if own:
        return "Redirects are not followed: write the address that it redirects to."
    return (
        f"It redirects to another origin, and redirects are not followed. If that is a sign-in page, check the auth of "
        f"[{target.entry}]; otherwise write the address that it redirects to."
    )


def _unauthenticated(target: Target, tenant_id: str | None) -> str:
    auth = target.auth
    if isinstance(auth, NoAuth) and target.headers:
        return f"Check the headers of [{target.entry}], and the secrets that they name; it may also require an auth."
    if target.headers:
        return f"{_of_auth(target, tenant_id)} If a gateway rejected it, check the secrets that its headers name."
    return _of_auth(target, tenant_id)


def _of_auth(target: Target, tenant_id: str | None) -> str:
    auth = target.auth
    if isinstance(auth, NoAuth) and is_signed(target.url):
        return f"Its URL has a signature (sig), which was rejected: copy the URL again, whole, into [{target.entry}]."
    if isinstance(auth, NoAuth):
        return f'It was called without a token: write auth = {{ type = "entra", … }} in [{target.entry}].'
    if not isinstance(auth, EntraAuth):
        return f"Its credential was rejected: check the auth of [{target.entry}], and the secrets that it names."
    tenant = auth.tenant_id or tenant_id or "(not set)"
    client = auth.client_id or "(the system-assigned managed identity)"
    allowed = (
        "in the list of allowed users of the flow's trigger"
        if target.flow
        else "among its specific_users, by object id"
    )
    return (
        f"The token was for the audience {target.audience} in the tenant {tenant}, by the client {client}. "
        f"{doubts(target)}The audience must be exactly the one that the trigger expects, and the tenant must be the "
        "trigger's. The object id of this client's service principal (Entra admin center, Enterprise applications) "
        f"must be {allowed}."
    )


def _address(target: Target) -> str:
    where = "POSTERN_PUBLIC_URL" if target.own else f"the url of [{target.entry}]"
    return f"Check that {where} can be reached from this machine."


def _forbidden(target: Target, response: Response) -> str:
    """A 403 may be the API's, or that of a firewall in front of it, which knows nothing of callers."""
    if not is_json(response.headers.get("Content-Type", "").encode("latin-1", "replace")):
        return (
            "The response is not JSON, so it may be from a firewall or gateway in front of the trigger: check that it "
            f"lets requests of this machine and of the User-Agent {USER_AGENT} through. If it is the trigger's own, "
            "the caller lacks a permission there."
        )
    if isinstance(target.auth, NoAuth) and not target.headers:
        return f"It was called without a credential: if {target.name} requires one, write auth in [{target.entry}]."
    return f"The caller is authenticated but not allowed: give it the role or permission that {target.name} requires."


def _not_found(target: Target) -> str:
    where = "POSTERN_PUBLIC_URL" if target.own else f"the url of [{target.entry}]"
    return f"Nothing was found there: check path= and {where}."


def _wrong_method(_: Target) -> str:
    return "It requires another method: set method=."


def _circle(_: Target) -> str:
    return "The chain of calls is more than 16 deep, or a loop: a workflow calls itself through others."


_FIXES: Mapping[int, Callable[[Target], str]] = {404: _not_found, 405: _wrong_method, 508: _circle}
