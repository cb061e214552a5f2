"""The pages where people sign in and out: a person is chosen by one click, without a password, and allows by another
what an application asks for beyond signing in.

Browsers do not trust the tenant's certificate, so they are served over http on loopback, by a second listener.
Reference: learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow and v2-protocols-oidc.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from postern.local_tenant.accounts import account, check_application, check_endpoint
from postern.local_tenant.claims_request import requested
from postern.local_tenant.directory import BUILT_IN_PATHS, Application, Person
from postern.local_tenant.errors import EntraError, error_document, error_of
from postern.local_tenant.grants import Grant, sealed
from postern.local_tenant.html import consent_page, error_page, people_page, signed_out_page
from postern.local_tenant.redirect_uris import is_registered
from postern.local_tenant.resources import knows
from postern.local_tenant.scopes import asks_for_consent, check_resource, permissions, read_scopes
from postern.local_tenant.tenant import LocalTenant

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_MAX_FORM = 1024
_PROMPTS = ("none", "login", "consent", "select_account")


@dataclass(frozen=True, slots=True)
class _Asked:
    """An authorization request whose client and redirect URI are known, so that its errors can go there. `at` is the
    tenant in its address."""

    application: Application
    redirect_uri: str
    parameters: Mapping[str, str]
    at: str


@dataclass(frozen=True, slots=True)
class SignInPages:
    """Entra's pages for one tenant."""

    tenant: LocalTenant
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """Routes under the tenant's id, as in Entra."""
        return [
            Route("/{tenant}/oauth2/v2.0/authorize", self.authorize, methods=["GET", "POST"]),
            Route("/{tenant}/oauth2/v2.0/logout", self.sign_out, methods=["GET"]),
        ]

    async def authorize(self, request: Request) -> Response:
        """Show the people, ask the one who was chosen for consent, and send the person back with a code (RFC 6749,
        section 4.1). Unlike Entra's, this tenant forgets a consent, so that its page can be seen each time."""
        try:
            asked = self._asked(request)
        except EntraError as error:
            return error_page(error)
        try:
            self._check(asked)
            if request.method == "GET":
                return people_page(asked.application.name, self._people(asked))
            form = await _form(request)
            person = self._chosen(form, asked.at)
            if _needs_consent(asked) and not _answered(form):
                return consent_page(asked.application.name, person, permissions(asked.parameters["scope"]))
            return self._back(asked, {"code": self._code(asked, person)})
        except EntraError as error:
            document = error_document(error, self.clock(), self.tenant.authority)
            return self._back(asked, {name: document[name] for name in ("error", "error_description", "error_uri")})

    async def sign_out(self, request: Request) -> Response:
        """End the session at Entra, of which there is none here, and go back to a registered address."""
        try:
            check_endpoint(request.path_params["tenant"])
        except EntraError as error:
            return error_page(error)
        back = request.query_params.get("post_logout_redirect_uri", "")
        registered = [uri for each in self.tenant.applications.values() for uri in self._redirect_uris(each)]
        if not is_registered(back, registered):
            return signed_out_page()
        state = request.query_params.get("state")
        return _redirect(back, {} if state is None else {"state": state})

    def _asked(self, request: Request) -> _Asked:
        """The request, if it names an application and one of its redirect URIs. Raises EntraError, for a page."""
        at = check_endpoint(request.path_params["tenant"])
        pairs = parse_qsl(request.url.query, keep_blank_values=True)
        parameters = dict(pairs)
        if len(parameters) != len(pairs):
            raise EntraError(400, "invalid_request", 90023, "A parameter is in the request more than once.")
        if not parameters.get("client_id"):
            raise EntraError(400, "invalid_request", 900144, "The request has no parameter 'client_id'.")
        application = self.tenant.directory.application(parameters["client_id"])
        if application is None:
            raise EntraError(400, "unauthorized_client", 700016, "This tenant has no application with that client id.")
        check_application(application, at)
        redirect_uri = parameters.get("redirect_uri", "")
        registered = self._redirect_uris(application)
        if not is_registered(redirect_uri, registered):
            known = ", ".join(registered) or "none"
            raise EntraError(
                400,
                "invalid_request",
                50011,
                "The redirect URI of the request is none of those that are configured for the application "
                f"{application.name}: {known}. The port does not matter on loopback.",
            )
        return _Asked(application, redirect_uri, parameters, at)

    def _check(self, asked: _Asked) -> None:
        """Raise EntraError if the request cannot be fulfilled."""
        wanted = asked.parameters.get
        if wanted("response_type") != "code":
            raise EntraError(400, "unsupported_response_type", 70005, "This tenant supports response_type=code only.")
        if wanted("response_mode", "query") != "query":
            raise EntraError(400, "invalid_request", 70007, "This tenant supports response_mode=query only.")
        if not _CHALLENGE.fullmatch(wanted("code_challenge", "")):
            raise EntraError(400, "invalid_request", 501491, "The code_challenge is missing, or not 43 characters.")
        if wanted("code_challenge_method") != "S256":
            raise EntraError(400, "invalid_request", 9002325, "This tenant requires PKCE with S256.")
        scopes = read_scopes(wanted("scope", ""))
        check_resource(wanted("resource"), scopes.audience)
        if not knows(self.tenant, scopes.audience):
            raise EntraError(400, "invalid_resource", 500011, "This tenant has no resource of that name.")
        requested(wanted("claims"))
        if wanted("prompt", "login") not in _PROMPTS:
            raise EntraError(400, "invalid_request", 90023, "This tenant supports one known value of prompt.")
        if wanted("prompt") == "none":
            raise EntraError(400, error_of(50058), 50058, "Nobody is signed in here: the person has to choose.")
        fault = self.tenant.faults.sign_in
        if fault.counted():
            raise EntraError(400, error_of(fault.code), fault.code, "This fault was switched on.")

    def _people(self, asked: _Asked) -> Iterable[Person]:
        """The people to choose from: the one of `login_hint` first, unless the account is to be selected anew."""
        hint = asked.parameters.get("login_hint", "").lower()
        if asked.parameters.get("prompt") == "select_account":
            hint = ""
        known = self.tenant.directory.people.values()
        people = [there.person for there in (account(each, asked.at) for each in known) if there is not None]
        return sorted(people, key=lambda each: hint not in (each.mail.lower(), each.user_principal_name.lower()))

    def _chosen(self, form: Mapping[str, str], at: str) -> Person:
        """The person whose button was clicked. Raises EntraError."""
        name = form.get("person", "")
        if not name:
            raise EntraError(400, error_of(65004), 65004, "The person declined to sign in.")
        found = self.tenant.directory.people.get(name)
        there = account(found, at) if found is not None else None
        if there is None:
            raise EntraError(400, "invalid_request", 50034, "There is no such person in this tenant.")
        return there.person

    def _code(self, asked: _Asked, person: Person) -> str:
        wanted = asked.parameters.get
        claims = requested(wanted("claims"))  # the person meets any context by a click
        grant = Grant(
            "code",
            self.tenant.directory.people[person.name].object_id,
            asked.application.client_id,
            wanted("scope", ""),
            self.clock(),
            asked.redirect_uri,
            wanted("code_challenge", ""),
            wanted("nonce", ""),
            asked.at,
            " ".join(claims.contexts),
            " ".join(claims.capabilities),
        )
        return sealed(grant, self.tenant.folder)

    def _back(self, asked: _Asked, answer: Mapping[str, str]) -> Response:
        """Back to the application. Like Entra's, the answer does not name its issuer (`iss`)."""
        state = asked.parameters.get("state")
        of_session = {"session_state": str(uuid.uuid4())} if "code" in answer else {}
        return _redirect(asked.redirect_uri, {**answer, **({} if state is None else {"state": state}), **of_session})

    def _redirect_uris(self, application: Application) -> list[str]:
        """Those of the registration. Postern's has also those of the server that runs beside the tenant."""
        if application.name != "postern":
            return list(application.redirect_uris)
        server = self.tenant.server_url.rstrip("/")
        served = [server + path for path in BUILT_IN_PATHS] if server else []
        return [*application.redirect_uris, *served, *sorted(self.tenant.sign_ins.redirect_uris)]


def _needs_consent(asked: _Asked) -> bool:
    return asked.parameters.get("prompt") == "consent" or asks_for_consent(asked.parameters["scope"])


def _answered(form: Mapping[str, str]) -> bool:
    """Whether the person has allowed what was asked for, on the page of it. Raises EntraError if they declined."""
    if form.get("consent", "allow") != "allow":
        raise EntraError(400, error_of(65004), 65004, "The person declined to consent.")
    return "consent" in form


async def _form(request: Request) -> dict[str, str]:
    """The fields of the form that was sent."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            break
    return dict(parse_qsl(body[:_MAX_FORM].decode("ascii", "replace"), keep_blank_values=True))


def _redirect(uri: str, parameters: Mapping[str, str]) -> Response:
    """A redirect that a browser follows with GET, whatever the request was."""
    address = f"{uri}{'&' if '?' in uri else '?'}{urlencode(parameters)}" if parameters else uri
    return RedirectResponse(address, 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
