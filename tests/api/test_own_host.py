"""Which requests the server answers under a name that is not its own: all of programs, none that a page may send."""

import pytest

from postern.api.own_host import MISDIRECTED, OwnHost
from tests.table import table

URL = "https://Flows.example:8443/p"
NAVIGATES = {b"sec-fetch-mode": b"navigate", b"sec-fetch-site": b"none"}
HTML = {b"accept": b"text/html,application/xhtml+xml"}
ORIGIN = {b"origin": b"https://evil.example"}
FETCHES = {b"sec-fetch-site": b"same-origin", b"sec-fetch-mode": b"cors"}


def elsewhere(
    host: str | None,
    headers: dict[bytes, bytes],
    path: str = "/triggers/hello",
    method: str = "GET",
    *,
    always: bool = False,
    url: str = URL,
) -> str | None:
    fields = headers if host is None else {b"host": host.encode(), **headers}
    scope = {"method": method, "raw_path": path.encode(), "headers": list(fields.items())}
    own = OwnHost(url, always=always)
    found = own.elsewhere(scope, fields)
    assert own.elsewhere(scope, None) == found
    return found


OWN = ["flows.example", "FLOWS.example.:1", "127.0.0.1", "127.8.9.1:8080", "localhost:8080", "[::1]:8080", "[::1]"]
OTHERS = [
    *("evil.example", "flows.example.evil.example", "x.flows.example", "127.0.0.1.evil.example", "10.0.0.1", "127.1"),
    *("localhost.evil.example", "0.0.0.0", "[::]", "", "evil.example:8443", "flows.example@evil.example"),
]


@table("headers", [{}, ORIGIN, FETCHES, NAVIGATES, HTML])
@table("path", ["/triggers/hello", "/docs", "/runs"])
@table("always", [True, False])
@table("host", OWN)
def test_own_names_are_answered(host, always, path, headers):
    assert elsewhere(host, headers, path, always=always) is None


@table("headers", [{}, ORIGIN, FETCHES])
@table("path", ["/triggers/hello", "/docs", "/docs/docs.js", "/healthz", "/nothing"])
@table("host", [*OTHERS, None])
def test_the_laptop_answers_no_other_name_and_a_server_none_to_a_page(host, path, headers):
    assert elsewhere(host, headers, path, always=True) == MISDIRECTED
    assert elsewhere(host, headers, path) == (MISDIRECTED if headers else None)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8080"])
def test_without_a_name_of_its_own_the_laptop_answers_loopback_only(url):
    assert [elsewhere(host, {}, always=True, url=url) for host in OWN] == [MISDIRECTED] * 2 + [None] * 5
    assert {elsewhere(host, {}, always=True, url=url) for host in OTHERS} == {MISDIRECTED}


@table("always", [True, False])
@table("method", ["GET", "HEAD"])
@table("headers", [NAVIGATES, HTML])
@table("path", ["/docs", "/console", "/console/runs/1", "/connect", "/connect/x%2Fy"])
def test_a_browser_that_opens_a_page_is_sent_to_the_public_url(path, headers, method, always):
    assert elsewhere("evil.example", headers, path, method, always=always) == URL + path


@pytest.mark.parametrize("path", ["/docsx", "/runs", "/triggers/hello", "//docs", "/DOCS"])
def test_other_urls_are_no_pages(path):
    assert elsewhere("evil.example", NAVIGATES, path) == MISDIRECTED
    assert elsewhere("evil.example", HTML, path) is None


def test_a_form_or_a_script_of_a_page_is_sent_nowhere():
    assert elsewhere("evil.example", NAVIGATES, "/connect", "POST") == MISDIRECTED
    assert elsewhere("evil.example", FETCHES | HTML, "/docs") == MISDIRECTED


def test_behind_a_proxy_that_replaces_the_host_a_page_does_not_redirect_to_itself():
    assert elsewhere("internal", NAVIGATES | {b"x-forwarded-host": b"flows.example"}, "/docs") == MISDIRECTED
