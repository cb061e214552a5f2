"""What to mend where a call came to nothing. Pure. Nothing that was sent or came back is repeated, but for
a code that is known."""

import re
from collections.abc import Callable, Mapping

from postern.authoring.call_result import CallError
from postern.connections.calls.targets import Target
from postern.errors import PROBLEMS
from postern.http_client import Response
from postern.settings import EntraAuth, NoAuth
from postern.settings.presets import POWER_AUTOMATE_AUDIENCES

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_CLAIMS = "MisMatchingOAuthClaims"
_KNOWN_CODES = frozenset(
    {*PROBLEMS, "workflow-problem", _CLAIMS, "DirectApiAuthorizationRequired", "DirectApiInvalidAuthorization"}
)
"""What another server may be quoted with: whatever else it calls a code, it may have made of what it was sent."""
_METHODS = re.compile(r"[A-Z]+(, ?[A-Z]+)*")


def sentence(target: Target, response: Response, code: object, tenant_id: str | None) -> str:
    """What is said of an answer that is no success."""
    status = response.status_code
    known = isinstance(code, str) and (code in _KNOWN_CODES or (target.own and _CODE.fullmatch(code)))
    said = f"{target.entry} answered {status}{f' ({code})' if known else ''}"
    if 300 <= status <= 399:
        return f"{said}. Redirects are not followed: write the address that it leads to."
    if status == 401 or code == _CLAIMS:  # which Power Automate answers with 403
        return f"{said}. {_unauthenticated(target, tenant_id)}"
    if status == 405:
        allowed = str(response.headers.get("Allow", ""))
        if _METHODS.fullmatch(allowed):
            return f"{said}. It takes {allowed}: say which with method=."
    fix = _FIXES.get(status)
    return f"{said}. {fix(target)}" if fix is not None else f"{said}."


def unreached(target: Target, error: Exception, *, sent: bool) -> CallError:
    """The error of a call that had no answer. The error's own text may have the URL in it."""
    kind = type(error).__name__
    what = f"gave no answer ({kind})" if sent else f"cannot be reached ({kind})"
    return CallError(target.entry, f"{target.entry} {what}. {_address(target)}", sent=sent)


def doubts(target: Target) -> str:
    """What seems to be wrong with the audience; "" where nothing does. Power Automate's own with a slash too few or too
    many was refused with the settings."""
    asked = target.audience
    if asked in POWER_AUTOMATE_AUDIENCES.values():
        return ""
    if target.flow:
        return (
            "The audience of a flow is Power Automate's own, https://service.flow.microsoft.com/ in the public cloud. "
        )
    if asked.endswith("/"):
        return "Does the audience there end with a slash too? A Postern or an Application ID URI seldom has one. "
    return ""


def _unauthenticated(target: Target, tenant_id: str | None) -> str:
    auth = target.auth
    if isinstance(auth, NoAuth):
        return f'It was called without a token: write auth = {{ type = "entra", … }} in [{target.entry}].'
    if not isinstance(auth, EntraAuth):
        return f"Its credential was refused: see the auth of [{target.entry}], and the secrets that it names."
    tenant = auth.tenant_id or tenant_id or "that is set nowhere"
    client = auth.client_id or "(the system-assigned managed identity)"
    allowed = (
        "in the list of allowed users of the flow's trigger"
        if target.flow
        else "among its specific_users, by object id"
    )
    return (
        f"The token was for the audience {target.audience} in the tenant {tenant}, by the client {client}. "
        f"{doubts(target)}The audience has to be the one that it expects, to the letter; that tenant its own; and the "
        "object id of this client's service principal (Entra admin center, Enterprise applications) has to be allowed "
        f"there: {allowed}."
    )


def _address(target: Target) -> str:
    where = "POSTERN_PUBLIC_URL" if target.own else f"the url of [{target.entry}]"
    return f"Does {where} lead there from this machine?"


def _forbidden(target: Target) -> str:
    return f"The caller is known there, and may not: give it the role or permission that {target.name} asks for."


def _not_found(target: Target) -> str:
    return f"Nothing is there: see path= and {'POSTERN_PUBLIC_URL' if target.own else f'the url of [{target.entry}]'}."


def _wrong_method(_: Target) -> str:
    return "It takes another method: say which with method=."


def _circle(_: Target) -> str:
    return "The calls go in a circle, or are more than 16 deep: a workflow calls itself by way of others."


_FIXES: Mapping[int, Callable[[Target], str]] = {403: _forbidden, 404: _not_found, 405: _wrong_method, 508: _circle}
