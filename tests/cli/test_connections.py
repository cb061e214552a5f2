"""`postern connections`: the list, and every stage of trying an entry out."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from postern.cli.connections import entry_named, show
from postern.connections.auth.sign_in import SignIn
from postern.connections.entry_trial import connected, judged, stages_with
from postern.connections.stage import Stage
from postern.http_client import Request, http_client
from postern.local_tenant import LocalTenant
from postern.settings import Connection, NoAuth, Settings, Trigger, load_settings
from tests.cli.conftest import Postern

pytestmark = pytest.mark.network

TOML = """
[connections.orders]
base_url = "https://orders.example/v2"
auth = { type = "none" }

[connections.graph]
base_url = "https://graph.microsoft.com/v1.0"
auth = { type = "entra", client_id = "00000000-0000-0000-0000-000000000007", client_secret = { key_vault = "graph-secret" }, scopes = ["https://graph.microsoft.com/.default"] }

[triggers.orders]
url = "https://flows.example/workflows/7/invoke?api-version=1&sig=the-signature"

[triggers.flow]
url = "https://flows.example/workflows/8/invoke?api-version=1"
auth = { type = "entra", client_id = "00000000-0000-0000-0000-000000000007", client_secret = { key_vault = "flow-secret" }, audience = "https://service.flow.microsoft.com/" }
"""  # noqa: E501


@pytest.fixture
def written(folder: Path) -> Path:
    """A folder whose postern.toml has entries in both tables."""
    (folder / "postern.toml").write_text(TOML, encoding="utf-8")
    return folder


def test_every_entry_is_listed_with_what_it_signs_in_with(postern: Postern, written: Path):
    """Addresses without their query, secrets by their names, the local tenant's own entries besides."""
    result = postern("connections")
    assert result.exit_code == 0
    assert "the-signature" not in result.stdout
    rows = {row.split()[0]: row.split()[1:] for row in result.stdout.splitlines()[1:] if not row.startswith(" ")}
    assert set(rows) == {
        "connections.graph",
        "connections.orders",
        "triggers.approve-leave",
        "triggers.flow",
        "triggers.orders",
    }
    assert rows["connections.graph"] == [
        "https://graph.microsoft.com/v1.0",
        "entra",
        "https://graph.microsoft.com/.default",
        "client_secret=graph-secret",
    ]
    assert rows["triggers.flow"][1:] == ["entra", "https://service.flow.microsoft.com/", "client_secret=flow-secret"]
    assert rows["triggers.orders"] == ["https://flows.example/workflows/7/invoke", "none"]


def test_the_list_as_json_has_a_shape_for_programs(postern: Postern, written: Path):
    result = postern("connections", "--json")
    assert "the-signature" not in result.stdout
    listed = {f"{row['table']}.{row['name']}": row for row in json.loads(result.stdout)["connections"]}
    assert listed["triggers.flow"] == {
        "table": "triggers",
        "name": "flow",
        "address": "https://flows.example/workflows/8/invoke",
        "auth": "entra",
        "for": ["https://service.flow.microsoft.com/"],
        "secrets": {"client_secret": "flow-secret"},
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grahp", "Did you mean graph?"),
        ("orders", "write connections.orders or triggers.orders"),
        ("connections.flow", "Did you mean"),
        ("zzz", "It has connections.graph"),
    ],
)
def test_a_name_of_no_entry_or_of_two_is_an_error(postern: Postern, written: Path, name: str, expected: str):
    result = postern("connections", "test", name)
    assert (result.exit_code, expected in result.stderr) == (2, True)


def test_an_entry_is_found_by_its_name_alone_or_with_its_table(tmp_path: Path):
    (tmp_path / "postern.toml").write_text(TOML, encoding="utf-8")
    settings: Settings = load_settings({}, folder=tmp_path)
    names = ("graph", "connections.orders", "triggers.orders", "flow")
    found = [entry_named(name, settings) for name in names]
    assert found == ["connections.graph", "connections.orders", "triggers.orders", "triggers.flow"]


class Badge(SignIn):
    """Signs with a badge; whether its cabinet opens is said beforehand."""

    def __init__(self, *, opens: bool = True) -> None:
        self.opens = opens

    async def credential(self) -> str:
        return "badge-value"

    def sign(self, request: Request, credential: str) -> None:
        request.headers["X-Badge"] = credential

    async def another(self, refused: str) -> str | None:
        return None

    async def try_out(self) -> AsyncIterator[Stage]:
        yield Stage("cabinet", self.opens, "drawer 7", "" if self.opens else "Unlock drawer 7")
        if self.opens:
            yield Stage("badge", True, "until 17:00")


class Answers(BaseHTTPRequestHandler):
    """The status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def other_side() -> Iterator[str]:
    """A server somewhere."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


async def tried(base_url: str, sign_in: SignIn | None) -> list[Stage]:
    found = Connection(base_url=base_url, auth=NoAuth())
    async with http_client(base_url=base_url, auth=sign_in) as client:
        return [stage async for stage in stages_with(client, sign_in, "connections.x", found, None)]


@pytest.mark.anyio
async def test_the_stages_of_signing_in_come_first_then_the_base_address(other_side: str):
    stages = await tried(f"{other_side}/404", Badge())
    assert [(stage.name, stage.passed) for stage in stages] == [("cabinet", True), ("badge", True), ("reached", True)]
    assert stages[-1].detail == f"GET {other_side}/404 answered 404"


@pytest.mark.anyio
async def test_nothing_is_sent_after_a_stage_that_is_not_passed():
    stages = await tried("http://127.0.0.1:9/nowhere", Badge(opens=False))
    assert [(stage.name, stage.passed, stage.fix) for stage in stages] == [("cabinet", False, "Unlock drawer 7")]


@pytest.mark.anyio
async def test_an_address_without_a_listener_names_the_entry_and_its_key():
    (stage,) = await tried("http://127.0.0.1:9/nowhere", None)
    assert (stage.passed, "connections.x, base_url" in stage.fix) == (False, True)


@pytest.mark.parametrize(
    ("status", "passed", "says"),
    [
        (200, True, "answered 200"),
        (302, True, "which is not followed"),
        (403, True, "not permitted at this address"),
        (404, True, "answered 404"),
        (401, False, "other than none"),
        (503, True, "but has an error"),
    ],
)
def test_any_answer_but_401_means_that_it_was_reached(status: int, passed: bool, says: str):
    stage = judged(status, "connections.x", Connection(base_url="https://x.example", auth=NoAuth()))
    assert (stage.passed, says in stage.detail + stage.fix) == (passed, True)


def test_a_401_of_an_entry_with_headers_alone_names_them():
    found = Connection.model_validate(
        {"base_url": "https://x.example", "auth": {"type": "none"}, "headers": {"X-Key": {"key_vault": "k"}}}
    )
    stage = judged(401, "connections.x", found)
    assert (stage.passed, "its headers" in stage.fix, "other than none" in stage.fix) == (False, True, False)


def test_a_401_after_signing_in_says_what_to_check():
    auth = {"type": "entra", "client_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "audience": "api://x"}
    found = Connection.model_validate(
        {"base_url": "https://x.example", "auth": {**auth, "client_secret": {"key_vault": "k"}}}
    )
    stage = judged(401, "connections.x", found)
    assert (stage.passed, "the credential was rejected" in stage.detail, "connections.x" in stage.fix) == (
        False,
        True,
        True,
    )


@pytest.mark.anyio
async def test_a_trigger_is_connected_to_and_sent_nothing():
    """The other side sees a connection that closes without a byte."""
    received: list[bytes] = []
    seen = anyio.Event()

    async def listen(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                received.append(await stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                received.append(b"")
            seen.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, listen)
        found = Trigger(url=f"http://127.0.0.1:{port}/invoke?sig=the-signature")
        async with http_client() as client:
            stages = [stage async for stage in stages_with(client, Badge(), "triggers.x", found, None)]
        with anyio.fail_after(5):
            await seen.wait()
        tasks.cancel_scope.cancel()
    assert [stage.name for stage in stages] == ["cabinet", "badge", "reached"]
    assert stages[-1].passed
    assert "the-signature" not in str(stages)
    assert received == [b""]


@pytest.mark.anyio
async def test_a_triggers_certificate_is_checked(local_tenant: LocalTenant):
    url = f"{local_tenant.authority}/invoke"
    trusted = await connected(url, "triggers.x", local_tenant.ca_bundle)
    assert (trusted.passed, "TLSv1.3" in trusted.detail) == (True, True)
    stranger = await connected(url, "triggers.x", None)
    assert (stranger.passed, "POSTERN_CA_BUNDLE" in stranger.fix) == (False, True)
    unreachable = await connected("https://127.0.0.1:9/", "triggers.x", None)
    assert (unreachable.passed, "triggers.x, url" in unreachable.fix) == (False, True)


@pytest.mark.anyio
async def test_stages_are_printed_up_to_the_first_that_failed(capsys: pytest.CaptureFixture[str]):
    """With its fix, and without what steers a terminal."""

    async def stages() -> AsyncIterator[Stage]:
        yield Stage("one", True, "by\x1b[31m this")
        yield Stage("two", False, "wrong", "Repair it")
        yield Stage("three", True)

    assert not await show(stages())
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.out.splitlines()] == [["ok", "one"], ["FAILED", "two"]]
    assert "\x1b" not in printed.out
    assert "fix: Repair it." in printed.err


@pytest.mark.parametrize("name", ["graph", "approve-leave"])
def test_without_the_local_tenant_the_vault_is_the_stage_that_fails(
    postern: Postern, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Exit code 1, the fix, and when the local tenant answers."""
    for variable in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(variable, "")
    result = postern("connections", "test", name)
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "fix:" in result.stderr
    assert "while `postern dev` runs" in result.stderr
