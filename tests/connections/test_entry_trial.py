"""Every stage of trying an entry of `postern.toml` out: sign in, then reach the other side."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from postern.connections.auth.sign_in import SignIn
from postern.connections.direct_trial import connected
from postern.connections.entry_trial import Way, judged, stages_with
from postern.connections.stage import Stage
from postern.http_client import Request, http_client
from postern.local_tenant import LocalTenant
from postern.settings import Connection, NoAuth, Trigger

pytestmark = pytest.mark.network


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
        return [stage async for stage in stages_with(client, sign_in, "connections.x", found, Way())]


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
            stages = [stage async for stage in stages_with(client, Badge(), "triggers.x", found, Way())]
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
