"""The page of signed URLs: a new one is shown once, all are listed without it, and one is revoked by a button."""

import html
import re
from collections.abc import AsyncIterator
from secrets import token_urlsafe
from urllib.parse import urlsplit

import pytest
from httpx2 import ASGITransport

from postern.http_client import http_client
from postern.local_tenant import LocalTenant
from tests.console.consoles import Browser, Console, open_console

pytestmark = [pytest.mark.anyio, pytest.mark.process]

WORKFLOWS = """
from postern import Context, anonymous, workflow

@workflow(access=anonymous(signed=True))
async def parcels(ctx: Context, body=None):
    return ctx.request.query.multi_items()
"""
PATH = "/console/signed-urls"
IN_PAGE = re.compile(r"<pre[^>]*><code>(http://[^<]+)</code>")


@pytest.fixture(scope="module")
async def console(local_tenant: LocalTenant, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    folder = tmp_path_factory.mktemp("signed-urls")
    (folder / "examples.py").write_text(WORKFLOWS, encoding="utf-8")
    local_tenant.put_secret("postern-url-parcels-primary", token_urlsafe(32))
    async with open_console(local_tenant, folder) as opened:
        yield opened


@pytest.fixture
async def ada(console: Console) -> Browser:
    return await console.signed_in("ada")


async def status_of(console: Console, url: str) -> int:
    parts = urlsplit(url)
    async with http_client(base_url=console.origin, transport=ASGITransport(console.app)) as sender:
        return (await sender.post(f"{parts.path}?{parts.query}")).status_code


async def test_a_new_one_works_is_shown_once_and_ends_with_its_button(console: Console, ada: Browser):
    form = {"workflow": "parcels", "id": "partner-x", "days": "3", "key": "primary", "with": "a=1\r\nb=x=y\r\n"}
    made = await ada.post(PATH, data=form)
    shown = IN_PAGE.search(made.text)
    assert made.status_code == 200
    assert shown is not None
    url = html.unescape(shown[1])
    assert await status_of(console, url) == 200
    listed = (await ada.get(PATH)).text
    assert "partner-x" in listed
    assert "with a, b" in listed
    assert "sig=" not in listed
    assert url.rpartition("=")[2] not in listed
    gone = await ada.post(f"{PATH}/revoke", data={"workflow": "parcels", "id": "partner-x"})
    assert "is revoked" in gone.text
    assert await status_of(console, url) == 401
    assert ">revoked<" in (await ada.get(PATH)).text


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"days": "many"}, 400, "must be a number of days"),
        ({"days": "9999"}, 400, "expires_in"),
        ({"id": "a/<b>"}, 400, "<code>id</code>"),
        ({"path": "/x"}, 400, "<code>path</code>"),
        ({"with": "a"}, 400, "one name=value on each line"),
        ({"with": "a=1\na=2"}, 400, "one name=value on each line"),
        ({"with": "sig=1"}, 400, "sig"),
        ({"key": "secondary"}, 503, "postern-url-parcels-secondary"),
        ({"workflow": "nothing"}, 404, "no such workflow"),
    ],
)
async def test_what_is_wrong_is_said_beside_what_was_typed(
    ada: Browser, fields: dict[str, str], status: int, says: str
):
    answer = await ada.post(PATH, data={"workflow": "parcels", "days": "30", **fields})
    assert answer.status_code == status
    assert says in answer.text
    assert "a/<b>" not in answer.text
    assert "sig=1" not in answer.text.partition("New signed URL")[0]


async def test_one_may_have_no_expiry_if_that_is_said(ada: Browser):
    made = await ada.post(PATH, data={"workflow": "parcels", "id": "for-ever", "days": "30", "no_expiry": "yes"})
    assert "se=never" in made.text
    assert "It does not expire" in made.text


async def test_it_is_there_for_operators_only_and_takes_its_own_forms_only(console: Console, ada: Browser):
    lisa = await console.signed_in("lisa")
    assert (await lisa.get(PATH)).status_code == 404
    for path in (PATH, f"{PATH}/revoke"):
        assert (await lisa.post(path, data={"workflow": "parcels", "id": "x"})).status_code == 404
        foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
        assert (await ada.post(path, foreign, {"workflow": "parcels", "id": "x"})).status_code == 403
    for bad in ({"id": "x"}, {"workflow": "parcels", "id": "unknown"}, {"workflow": "\0", "id": "x"}):
        assert (await ada.post(f"{PATH}/revoke", data=bad)).status_code == 404
    assert (await ada.get(f"{PATH}/revoke")).headers["location"] == PATH
    assert (await ada.get(f"{PATH}?after=%00")).status_code == 200


async def test_the_page_of_the_workflow_says_how_it_is_called(ada: Browser):
    shown = (await ada.get("/console/workflows/parcels")).text
    assert "Anyone with a signed URL" in shown
    assert "open to anyone" not in shown
    assert "no token opens it" in (await ada.get("/console/explain?workflow=parcels&person=lisa")).text
