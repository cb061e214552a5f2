"""The console as routes of Starlette: its pages, each behind the guard."""

from collections.abc import Callable
from dataclasses import replace

from starlette.routing import Route

from postern.api.grant_actions import CONNECT
from postern.console.access import Access
from postern.console.approvals import Approvals
from postern.console.assets import Assets
from postern.console.audit import Audit
from postern.console.connect import Connect
from postern.console.connections import Connections
from postern.console.consent import Consent
from postern.console.explain import Explain
from postern.console.findings import Findings
from postern.console.gateways import Gateways
from postern.console.grant_owners import GrantOwners
from postern.console.guard import Guard
from postern.console.home import Home
from postern.console.links import Links
from postern.console.navigation_counts import NavigationCounts
from postern.console.page import PageRoute, SeeOther, Visit
from postern.console.refusals import Refusals
from postern.console.revocations import Revocations
from postern.console.run_routes import run_routes
from postern.console.secrets import Secrets
from postern.console.services import Services
from postern.console.sessions_page import SessionPages
from postern.console.sign_in import SignIn
from postern.console.signed_urls import SignedUrls
from postern.console.workflows import Workflows
from postern.errors import problem

ASSET = "/console/assets/{version}/{name}"
OTHERS = (("/console", False), ("/console/{path:path}", False), (CONNECT, True), (f"{CONNECT}/{{path:path}}", True))
"""All other paths, and whether they are open to people where the console is not."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

PAGES: tuple[Callable[[Services], tuple[PageRoute, ...]], ...] = (
    lambda services: Home(services).routes,
    run_routes,
    lambda services: Approvals(services).routes,
    lambda services: SessionPages(services).routes,
    lambda services: Refusals(services).routes,
    lambda services: Findings(services).routes,
    lambda services: Workflows(services).routes,
    lambda services: Access(services).routes,
    lambda services: Connections(services).routes,
    lambda services: Gateways(services).routes,
    lambda services: GrantOwners(services).routes,
    lambda services: SignedUrls(services).routes,
    lambda services: Secrets(services).routes,
    lambda services: Explain(services).routes,
    lambda services: Audit(services).routes,
    lambda services: Revocations(services).routes,
)
"""The pages, by family. Each gets what the server provides."""


def routes(services: Services, guard: Guard, sign_in: SignIn, assets: Assets) -> tuple[Route, ...]:
    """All routes of the console, the one of all other paths last."""
    open_ones = (
        ("GET", "/console/sign-in", sign_in.start),
        ("GET", "/console/callback", sign_in.callback),
        ("POST", "/console/sign-out", sign_in.sign_out),
        ("GET", "/console/signed-out", sign_in.signed_out),
        ("GET", f"{CONNECT}/{{name}}/invitation/{{secret}}", Links(guard.frame).opened),
    )
    guard = replace(guard, counts=NavigationCounts(services.approvals).of)
    consent = Consent(services.grants, services.provider, guard.sessions.cookies, services.address)
    pages = [*(page for family in PAGES for page in family(services)), *Connect(services, consent).routes]
    return (
        Route(ASSET, guard.open(ASSET, assets.answer, anyhow=True), methods=["GET"]),
        *(Route(path, guard.open(path, handler), methods=[method]) for method, path, handler in open_ones),
        *(Route(page.path, guard.page(page), methods=[page.method]) for page in pages),
        *(
            Route(path, guard.page(PageRoute(method, path, nothing_here, for_people=for_people)), methods=[method])
            for path, for_people in OTHERS
            for method in METHODS
        ),
    )


async def nothing_here(visit: Visit) -> SeeOther:
    """All other paths: those of a page with a slash at the end lead to it."""
    path: str = visit.request.scope["path"]
    if path.endswith("/") and visit.request.method in ("GET", "HEAD"):
        return SeeOther(path.rstrip("/"))
    raise problem("not-found")
