"""The example my-profile with `postern dev`: a person connects it in two clicks, and its runs act as that person."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlsplit

import pytest
from httpx2 import Client, Response

from postern.local_tenant import LocalTenant
from tests.process.commands import command
from tests.process.servers import Server

CONNECT = "/connect/my-profile"


class Person:
    """A person with a browser, which keeps cookies and follows what a page says."""

    def __init__(self, dev: Server, name: str) -> None:
        self.dev = dev
        self.name = name
        self.client = Client(trust_env=False, timeout=20, headers={"accept": "text/html"}, base_url=dev.address)

    def sign_in(self) -> Response:
        """Open the page to connect, and sign in on the way. Returns the page."""
        at_entra = self.followed(self.client.get(CONNECT), until="/authorize")
        return self.followed(self.client.post(at_entra.url, data={"person": self.name}))

    def clicks_connect(self) -> Response:
        """Returns the page of the provider that the answer goes on to."""
        own = {"sec-fetch-site": "same-origin", "origin": self.dev.address}
        form = {**own, "content-type": "application/x-www-form-urlencoded"}
        answered = self.client.post(CONNECT, headers=form, content=b"")
        assert answered.status_code == 200  # a redirect out of a form is stopped by Chromium
        on = re.search(r'http-equiv="refresh" content="[0-9]+; ?url=([^"]+)"', answered.text)
        assert on is not None
        page = self.client.get(unescape(on[1]))
        assert page.text.count('name="person"') > 1
        return page

    def answers(self, page: Response, consent: str) -> Response:
        """Choose oneself at the provider, and Allow ("allow") or Cancel (""). Returns the page of Postern after it."""
        asked = self.client.post(page.url, data={"person": self.name})
        assert "postern asks for your permission" in asked.text
        return self.followed(self.client.post(page.url, data={"person": self.name, "consent": consent}))

    def followed(self, response: Response, until: str = "\0") -> Response:
        """What is at the end of redirects, or at the first whose path ends so."""
        for _ in range(6):
            if not response.has_redirect_location or urlsplit(str(response.url)).path.endswith(until):
                return response
            response = self.client.get(response.headers["location"])
        raise AssertionError("redirects go on")

    def calls(self, tenant: LocalTenant) -> Response:
        """Call the example with a token of one's own."""
        return self.dev.post("my-profile", tenant.token(self.name))


@dataclass
class Connecting:
    """How lisa connected: what her call got before, the page after Allow, and her browser."""

    before: Response
    page: Response
    lisa: Person


@pytest.fixture(scope="module")
def connecting(dev: Server, tenant: LocalTenant) -> Iterator[Connecting]:
    """Lisa signs in at the console and connects."""
    lisa = Person(dev, "lisa")
    with lisa.client:
        assert lisa.sign_in().status_code == 200
        before = lisa.calls(tenant)
        yield Connecting(before, lisa.answers(lisa.clicks_connect(), "allow"), lisa)


def trial(dev: Server, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of `postern connections test`."""
    done = command(dev.folder, "connections", "test", "my-profile", *arguments)
    return done.returncode, done.stdout + done.stderr


def test_lisa_connects_in_two_clicks_and_only_her_own_runs_act_as_her(
    dev: Server, tenant: LocalTenant, connecting: Connecting
):
    """Before that the call says where to connect; so it does for ada afterwards. The record of the run is hers."""
    before, page = connecting.before, connecting.page
    assert (before.status_code, before.json()["connect_url"]) == (424, f"{dev.address}{CONNECT}")
    assert (page.status_code, urlsplit(str(page.url)).path) == (200, CONNECT)
    assert "Connected" in page.text

    answer = connecting.lisa.calls(tenant)
    assert answer.json() == {"id": tenant.people["lisa"], "name": "Lisa Moreau", "mail": "lisa@tenant.example"}
    run = dev.client.get(
        f"/runs/{answer.headers['x-run-id']}", headers={"Authorization": f"Bearer {tenant.token('lisa')}"}
    ).json()
    assert (run["workflow"], run["state"]) == ("my-profile", "Succeeded")
    refused = dev.post("my-profile", tenant.token("ada"))
    assert refused.status_code == 424
    assert refused.json()["code"] == "consent-required"
    assert refused.json()["connect_url"] == f"{dev.address}{CONNECT}"
    assert dev.post("my-profile", tenant.token("nightly-report")).status_code == 401


def test_the_test_of_the_connection_shows_the_stages_and_acts_as_people_of_the_local_tenant_only(
    dev: Server, connecting: Connecting
):
    """It shows no token. Without a name nothing is sent with one."""
    code, said = trial(dev, "--for", "lisa")
    assert [line.split()[1] for line in said.splitlines() if line.startswith("ok")] == [
        "entry",
        "key",
        "client_secret",
        "provider",
        "grant",
        "token",
        "reached",
    ]
    assert (code, "lisa: Connected as Lisa Moreau" in said, "answered 404" in said) == (0, True, True)
    code, said = trial(dev)
    assert (code, "Connected 1" in said, "lisa" in said.lower()) == (0, True, False)
    assert "no request was sent, because it would be sent as a person" in said
    code, said = trial(dev, "--for", "ada")
    assert (code, "ada: Needed, it is not connected" in said) == (1, True)
    assert "ada must connect it" in said


def test_a_person_who_cancels_has_connected_nothing(dev: Server, tenant: LocalTenant):
    ada = Person(dev, "ada")
    with ada.client:
        ada.sign_in()
        page = ada.answers(ada.clicks_connect(), "")
        assert "declined" in page.text
        assert ada.calls(tenant).status_code == 424


def test_no_token_is_in_the_log_or_in_a_page(dev: Server, tenant: LocalTenant, connecting: Connecting):
    """Nor the code of the callback."""
    page = connecting.lisa.client.get(CONNECT).text
    for text in (dev.output, page):
        assert not re.search(r"eyJ[A-Za-z0-9_-]{20,}\.", text)
        assert "gAAAA" not in text
