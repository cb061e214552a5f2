"""The checks before every page: https, the console's own origin, a session, and who may see the page. An error is a
page in the same frame, and each rejected request is recorded."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from structlog.typing import FilteringBoundLogger

from postern.access import Check, Refused
from postern.api.client import address_of
from postern.api.departure import while_connected
from postern.api.grant_actions import CONNECT
from postern.console.destination import HOME, destination
from postern.console.faults import Action, action_for, fault
from postern.console.frame import Frame
from postern.console.own_origin import SAFE, foreign, origin_of
from postern.console.page import Download, PageRoute, SeeOther, Viewer, Visit
from postern.console.sessions import Sessions
from postern.console.sign_in import BROWSER, STATE, sign_in_path
from postern.errors import Problem, header_lines, problem
from postern.ids import new_id
from postern.journal.refusal import Refusal, as_text
from postern.triggers.reply import Answer
from postern.triggers.secure_transport import CODE as INSECURE
from postern.triggers.secure_transport import unsafe

Handler = Callable[[Request, str], Awaitable[Answer]]
"""Answers a request; it also gets the request's id."""

Endpoint = Callable[[Request], Awaitable[Response]]

OPERATOR = "operator"
"""The check of a person where the console is for operators only."""


async def no_counts(_: Visit) -> Mapping[str, str]:
    """Nothing is counted."""
    return {}


@dataclass(frozen=True, slots=True)
class Guard:
    """`for_operators`: only operators see pages. `refused` is called with each rejected request, and returns whether to
    log it. `counts` are shown in the navigation."""

    frame: Frame
    sessions: Sessions
    for_operators: bool
    refused: Callable[[Refusal], bool]
    log: FilteringBoundLogger
    counts: Callable[[Visit], Awaitable[Mapping[str, str]]] = no_counts

    def page(self, route: PageRoute) -> Endpoint:
        """The endpoint of a page."""

        async def visit(request: Request, request_id: str) -> Answer:
            viewer = await self.sessions.viewer(request)
            if viewer is None:
                return self._sign_in_first(request, resumed=route.resumed)
            try:
                return await self._shown(route, Visit(request, viewer, request_id, partial(self._still, request)))
            except (Problem, Refused) as error:
                return self._fault(error, route.path, request, request_id, viewer, for_people=route.for_people)

        return self.open(route.path, visit, goes_on=not route.resumed)

    async def _still(self, request: Request) -> None:
        if await self.sessions.viewer(request) is None:
            raise fault("session-ended")

    def open(self, path: str, handler: Handler, *, anyhow: bool = False, goes_on: bool = False) -> Endpoint:
        """The endpoint of a handler that needs no session, at this path. With `anyhow`, how the request came does not
        matter. With `goes_on` it is finished though its client has left: it can be made once only. The log names the
        path, and not the request's: the id of an anonymous caller's run gives access to it."""

        async def answer(request: Request) -> Answer:
            request_id = new_id()
            try:
                if not anyhow:
                    self._check(request)
                return await handler(request, request_id)
            except (Problem, Refused) as error:
                return self._fault(error, path, request, request_id)
            except Exception:
                self.log.exception("request-failed", request_id=request_id, page=path)
                return self._problem_page(problem("internal-error"), request, request_id)

        async def endpoint(request: Request) -> Response:
            reads = request.method in ("GET", "HEAD") and not goes_on
            return _response(await (while_connected(answer, request) if reads else answer(request)), request)

        return endpoint

    def _check(self, request: Request) -> None:
        """Raise Problem if others on the network could have read the request, or if another site sent it."""
        if reason := unsafe(request.scope):
            raise problem(INSECURE, reason=reason, detail="People sign in over https only.")
        if reason := foreign(request.method, request.scope["headers"], origin_of(self.frame.address)):
            raise fault("cross-site-request", reason=reason)

    async def _shown(self, route: PageRoute, visit: Visit) -> Answer:
        viewer = visit.viewer
        closed = self.for_operators and not viewer.operator
        if closed and not route.for_people:
            expected = "the app role Postern.Operator, or POSTERN_OPERATORS"
            raise Refused([Check(OPERATOR, False, expected, viewer.session.object_id)], proved=True)
        if route.operators_only and not viewer.operator:
            raise problem("not-found")
        shown = await route.page(visit)
        if isinstance(shown, SeeOther):
            return self.frame.redirect(self.frame.below(shown.path))
        if isinstance(shown, Download):
            return self.frame.download(shown)
        return self.frame.page(
            shown.template,
            shown.values,
            visit.request_id,
            viewer=viewer,
            here=shown.here,
            status=shown.status,
            more=shown.more,
            closed=closed,
            counts={} if closed else await self.counts(visit),
        )

    def _sign_in_first(self, request: Request, *, resumed: bool) -> Answer:
        """A page that is read is read after signing in, unless it is not `resumed`. A form is not sent again, and
        browsers stop one that is sent on to Entra: its page has a link. A script that asks for a part of a page lets
        the browser leave the page."""
        if request.headers.get("hx-request") == "true":
            location = self.frame.below(sign_in_path(self._page_around(request)))
            gone = (b"hx-redirect", location.encode("ascii"))
            return self.frame.page("part-fault.html", _texts(fault("session-ended")), "", status=401, more=(gone,))
        if request.method not in ("GET", "HEAD") or not resumed:
            raise fault("session-ended")
        query: bytes = request.scope["query_string"]
        to = request.scope["path"] + (f"?{query.decode('latin-1')}" if query else "")
        return self.frame.redirect(self.frame.below(sign_in_path(destination(to))))

    def _page_around(self, request: Request) -> str:
        """The page that a script asks for a part for, as its browser says."""
        try:
            parts = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
        except ValueError:
            return HOME
        path = parts.path.removeprefix(self.frame.prefix)
        return destination(path + (f"?{parts.query}" if parts.query else ""))

    def _fault(
        self,
        error: Problem | Refused,
        path: str,
        request: Request,
        request_id: str,
        viewer: Viewer | None = None,
        *,
        for_people: bool = False,
    ) -> Answer:
        """The page of an error, which is on record."""
        checks: tuple[Check, ...]
        if isinstance(error, Problem):
            shown, reason = error, error.code
            checks = (Check(error.code, False, None, error.reason),) if error.reason else ()
        else:
            reason, checks = error.failed.name, error.checks
            shown = _of_check(reason, signed_in=viewer is not None)
        refusal = Refusal(request_id, reason, shown.code, shown.status, "", address_of(request), checks)
        if self.refused(refusal):
            self.log.info(
                "request-refused",
                page=path,
                request_id=request_id,
                code=shown.code,
                status=shown.status,
                reason=reason,
                found=as_text(checks[-1].found) if checks else "",
                client_address=refusal.client_address,
            )
        return self._problem_page(shown, request, request_id, viewer, for_people=for_people)

    def _problem_page(
        self,
        shown: Problem,
        request: Request,
        request_id: str,
        viewer: Viewer | None = None,
        *,
        for_people: bool = False,
    ) -> Answer:
        part = request.headers.get("hx-request") == "true"
        closed = viewer is not None and self.for_operators and not viewer.operator
        action = self._action(shown.code, request)
        if closed and for_people and action.path == self.frame.below(HOME):
            action = Action("See your connections", self.frame.below(CONNECT))
        values = {**_texts(shown), "action": action, "other_person": closed and not for_people}
        return self.frame.page(
            "part-fault.html" if part else "fault.html",
            values,
            request_id,
            viewer=None if closed and not for_people else viewer,
            status=shown.status,
            closed=closed,
            more=tuple(header_lines(shown.headers)),
        )

    def _action(self, code: str, request: Request) -> Action:
        """What a person can do about it. A form is sent again from its own page, also after signing in."""
        if code == INSECURE:
            return Action("Open the console over https", f"{self.frame.address}/console")
        action = action_for(code)
        action = action._replace(path=action.path.format_map(request.path_params))
        if code == "session-ended":
            action = action._replace(path=sign_in_path(self._page_around(request)))
        elif not action.path and request.method not in SAFE:
            action = Action("Go back and try again", self._page_around(request))
        return action._replace(path=self.frame.below(action.path)) if action.path else action


def _of_check(reason: str, *, signed_in: bool) -> Problem:
    """The problem for a failed check: of a person who is signed in, of a browser that comes back, or of an ID token."""
    if signed_in:
        return problem("forbidden") if reason == OPERATOR else problem("forbidden", detail="You may not do this.")
    return fault("sign-in-not-started" if reason in (STATE, BROWSER) else "sign-in-refused")


def _texts(shown: Problem) -> dict[str, object]:
    errors = shown.members.get("errors", ())
    return {"title": shown.title, "detail": shown.detail, "errors": errors if isinstance(errors, list) else ()}


def _response(answer: Answer, request: Request) -> Response:
    response = Response(b"" if request.method == "HEAD" else answer.content, answer.status)
    response.raw_headers = answer.headers
    return response
