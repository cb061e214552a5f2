"""Where a browser goes after signing in: pages of this server for people, and nothing else."""

from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from postern.console.destination import HOME, LONGEST, destination
from tests.table import table


@table(
    "to",
    [
        "/console",
        "/console/runs",
        "/console/runs?state=Failed&text=%C3%A9",
        "/console/runs/01890000-0000-7000-8000-000000000001",
        "/connect",
        "/connect/graph",
        "/connect/triggers.pay?return_to=/console/runs",
        "/connect/graph/link/" + "0a" * 32,
        "/console/runs?next=/console",
        "/console/a.b",
    ],
)
def test_a_page_for_people_is_reached(to: str):
    assert destination(to) == to


@table(
    "to",
    [
        "",
        "/",
        "console",
        "https://evil.example/console",
        "//evil.example/console",
        "///evil.example",
        "/\\evil.example",
        "/console\\..\\triggers",
        "/console/../triggers/payroll",
        "/console/./runs",
        "/console/..",
        "/console/.?x",
        "/console/%2e%2e/triggers/payroll",
        "/console/..;/triggers/payroll",
        "/console%2f..",
        "/console//evil.example",
        "/console/",
        "/consoles",
        "/console.evil.example",
        "/console@evil.example",
        "/triggers/payroll",
        "/runs",
        "/console/runs#https://evil.example",
        "/console/runs\r\nSet-Cookie: a=b",
        "/console/runs\n",
        "/console/runs x",
        "/console/rüns",
        "/console/runs?a=é",
        "\t/console",
        "javascript:alert(1)",
        "/console/sign-in",
        "/console/sign-in?to=/console/sign-in",
        "/console/callback?code=x",
        "/console/sign-out",
        "/console/signed-out",
        "/connect/graph/invitation/" + "s" * 43,
        "/connect/graph/invitation/" + "s" * 43 + "/x",
        "/connect/graph/callback?code=x",
        "/connect/graph/Callback?code=x",
        "/connect/graph/link/" + "s" * 43,
        "/connect/../triggers/payroll",
        "/console/runs?" + "x" * LONGEST,
        "/console/explain?person=eyJhbGciOiJSUzI1NiJ9.eyJvaWQiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_everything_else_leads_to_the_console(to: str):
    assert destination(to) == HOME


@given(st.one_of(st.text(), st.text("/consle.;%\\?#@:-\r\n", max_size=30).map(lambda rest: "/console" + rest)))
def test_no_text_leads_away_from_the_pages(to: str):
    """Resolved as browsers resolve it, the place is on this host and below /console or /connect."""
    found = destination(to)
    assert found.isascii()
    assert found.isprintable()
    resolved = urlsplit(urljoin("https://postern.example/console/callback", found.replace("\\", "/")))
    assert (resolved.scheme, resolved.netloc) == ("https", "postern.example")
    assert resolved.path.split("/")[1] in ("console", "connect")
