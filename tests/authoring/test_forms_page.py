"""The page about forms, files and streams: its listings run, and its figures are the program's."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import ASGITransport

import postern.authoring
from postern.assembly import create_app
from postern.authoring.inputs import MOST_FIELDS, MOST_FILES
from postern.http_client import AsyncClient, http_client
from postern.server.connection import ClientConnection
from postern.settings import load_settings
from postern.triggers.forms import FIELD_BYTES, SPOOL_BYTES
from tests.pipeline.pipelines import defaults_for

FOLDER = Path(postern.authoring.__file__).parent
PAGE = (FOLDER / "FORMS.md").read_text("utf-8")
LISTINGS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {path.name: path.read_text("utf-8") for path in (FOLDER / "examples").glob("*.py")}


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.strip().splitlines()[0][:40])
def test_a_listing_is_a_part_of_an_example(listing: str):
    assert [name for name, text in FILES.items() if listing in text] != []


def test_each_example_is_on_the_page():
    assert set(re.findall(r"\(examples/(\w+\.py)\)", PAGE)) == set(FILES)


def test_the_figures_are_those_of_the_program():
    assert f"| files | {MOST_FILES} |" in PAGE
    assert f"| other fields | {MOST_FIELDS} |" in PAGE
    assert FIELD_BYTES == 2**20
    assert SPOOL_BYTES == 64 * 1024
    assert f"reads nothing for {ClientConnection.write_seconds:.0f} s" in PAGE


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """The examples for callers without a token."""
    for name, text in FILES.items():
        anyone = re.sub(r"tenant_users\([^)]*\)", "anonymous()", text).replace("tenant_users", "anonymous")
        (tmp_path / name).write_text(anyone, encoding="utf-8")
    (tmp_path / "handbook.txt").write_bytes(b"Read this.")
    app = create_app(load_settings({}, folder=tmp_path, defaults=defaults_for(tmp_path)))
    assert not app.catalog.snapshot.faults
    async with (
        app.router.lifespan_context(app),
        http_client(base_url="http://postern.test", transport=ASGITransport(app)) as client,
    ):
        yield client


@pytest.mark.process
@pytest.mark.anyio
async def test_the_examples_do_what_the_page_says(client: AsyncClient):
    files = [("receipts", ("taxi.pdf", b"%PDF")), ("receipts", ("meal.pdf", b"%PDF-1"))]
    sent = await client.post("/triggers/expense", data={"title": "Trip", "amount": "12.50"}, files=files)
    assert sent.json() == {"taxi.pdf": 4, "meal.pdf": 6}
    url = "/triggers/find-rooms?site=north&page=2"
    found = await client.get(url, headers={"Accept-Language": "de"})
    assert found.json() == {"rooms": ["Cedar"], "language": "de"}
    assert (await client.get("/triggers/find-rooms")).json()["errors"][0]["where"] == "/query/site"
    assert (await client.get("/triggers/handbook")).text == "Read this."
    lines = (await client.get("/triggers/export")).text.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("number,square", "999,998001", 1001)
    events = (await client.get("/triggers/progress")).text
    assert events.startswith('id: 0\nevent: progress\ndata: {"percent":0}\n\n')
    assert events.count("data: ") == 3
