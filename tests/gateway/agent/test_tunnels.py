"""Tunnels at the agent: bytes pass unread, and only to what the rows allow."""

import socket
import ssl

import anyio
import pytest
import trustme
from anyio.abc import ByteStream

from postern.gateway.agent.rows import Row
from postern.gateway.agent.targets import Targets, connect_address
from tests.gateway.agent.targets import deaf_target, read_all, site, target
from tests.gateway.ends import settle
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def echo(stream: ByteStream) -> None:
    async for data in stream:
        await stream.send(data)
    await stream.send_eof()


def row(port: int, host: str = "127.0.0.1") -> Row:
    return Row(address=f"{host}:{port}")


async def test_a_tunnel_carries_bytes_both_ways_and_each_end_by_itself():
    async with target(echo) as port, site([row(port)]) as here:
        stream = await here.open(f"127.0.0.1:{port}")
        sent = bytes(range(256)) * 4096
        async with anyio.create_task_group() as group:

            async def send() -> None:
                await stream.send(sent)
                await stream.send_eof()

            group.start_soon(send)
            assert await read_all(stream) == sent
        await settle()
        assert len(here.tunnels) == 0


async def test_a_target_that_breaks_off_breaks_the_tunnel_off():
    """A clean end would make a part of a message look like the whole."""

    async def reset(stream: ByteStream) -> None:
        await stream.send(b"half")
        await stream.receive()
        raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with target(reset) as port, site([row(port)]) as here:
        stream = await here.open(f"127.0.0.1:{port}")
        assert await stream.receive() == b"half"
        await stream.send(b"go")
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()


async def test_a_server_that_gives_up_closes_the_connection_to_the_target():
    gone = anyio.Event()

    async def watch(stream: ByteStream) -> None:
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            gone.set()

    async with target(watch) as port, site([row(port)]) as here:
        stream = await here.open(f"127.0.0.1:{port}")
        await stream.aclose()
        await gone.wait()


async def test_a_target_that_does_not_read_stops_its_own_tunnel_only():
    with deaf_target() as deaf_port:
        async with target(echo) as port, site([row(deaf_port), row(port)]) as here:
            stuck = await here.open(f"127.0.0.1:{deaf_port}")
            with anyio.move_on_after(0.5) as scope:
                await stuck.send(bytes(64 * 1024 * 1024))
            assert scope.cancelled_caught
            other = await here.open(f"127.0.0.1:{port}")
            await other.send(b"ping")
            assert await other.receive() == b"ping"


@table("ends_tls", [False, True])
async def test_a_server_that_gives_up_on_a_target_that_does_not_read_closes_the_connection(ends_tls: bool):
    """The agent waits for the target then, not for the server."""
    more = {"scheme": "http", "methods": ["POST"], "paths": ["/"]} if ends_tls else {}
    with deaf_target() as port:
        async with site([Row(address=f"127.0.0.1:{port}", **more)]) as here:
            stream = await here.open(f"127.0.0.1:{port}", ends_tls=ends_tls)
            head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99999999\r\n\r\n"
            with anyio.move_on_after(0.5) as scope:
                await stream.send(head.encode() + bytes(64 * 1024 * 1024))
            assert scope.cancelled_caught
            assert len(here.tunnels) == 1
            await stream.aclose()
            with anyio.fail_after(2):
                while len(here.tunnels):
                    await anyio.sleep(0.01)


async def test_rows_that_are_read_again_hold_for_open_tunnels_too():
    async with target(echo) as port, target(echo) as kept, site([row(port), row(kept)]) as here:
        closed, open_ = await here.open(f"127.0.0.1:{port}"), await here.open(f"127.0.0.1:{kept}")
        assert here.tunnels.allow([row(kept)]) == 1
        with pytest.raises(anyio.BrokenResourceError):
            await closed.receive()
        assert await here.refusal(f"127.0.0.1:{port}") == ("403", "target-not-allowed")
        await open_.send(b"ping")
        assert await open_.receive() == b"ping"


def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


async def test_a_target_that_refuses_is_a_502_with_the_reason():
    port = unused_port()
    async with site([row(port)]) as here:
        assert await here.refusal(f"127.0.0.1:{port}") == ("502", "target-refused")


async def test_a_target_that_does_not_answer_is_a_504(monkeypatch: pytest.MonkeyPatch):
    async def silent(address: str, port: int) -> ByteStream:
        await anyio.sleep_forever()
        raise AssertionError

    async def both(host: str, port: int) -> list[str]:
        return ["10.0.0.7", "10.0.0.8"]

    monkeypatch.setattr("postern.gateway.agent.targets.SECONDS", 0.2)
    async with site([row(443, "erp.corp")], Targets(resolve=both, connect=silent)) as here:
        assert await here.refusal("erp.corp:443") == ("504", "target-timeout")


@table(
    "found, expected",
    [
        ([], ("502", "name-not-found")),
        (None, ("502", "name-not-found")),
        (["169.254.169.254"], ("403", "address-denied")),
        (["127.0.0.1"], ("403", "address-denied")),
        (["10.0.0.7", "::ffff:168.63.129.16"], ("403", "address-denied")),
        (["10.0.0.7", "::1"], ("403", "address-denied")),
    ],
)
async def test_a_name_is_as_good_as_its_worst_address(found: list[str] | None, expected: tuple[str, str]):
    async def resolve(host: str, port: int) -> list[str]:
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return found

    async def never(address: str, port: int) -> ByteStream:
        raise AssertionError(address)

    async with site([row(443, "erp.corp")], Targets(resolve=resolve, connect=never)) as here:
        assert await here.refusal("erp.corp:443") == expected


async def test_the_name_is_looked_up_once_and_the_checked_address_is_dialled():
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    dialled = []

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def connect(address: str, port: int) -> ByteStream:
        dialled.append(address)
        return await connect_address(address, port)

    async with (
        target(echo) as port,
        site([row(port, "localhost")], Targets(resolve=resolve, connect=connect)) as here,
    ):
        await here.open(f"localhost:{port}")
        assert dialled == ["127.0.0.1"]
        assert await here.refusal(f"localhost:{port}") == ("403", "address-denied")


async def test_a_further_address_is_tried_if_the_first_one_refuses():
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async def connect(address: str, port: int) -> ByteStream:
        if address == "127.0.0.2":
            raise ConnectionRefusedError
        return await connect_address(address, port)

    async with (
        target(echo) as port,
        site([row(port, "localhost")], Targets(resolve=resolve, connect=connect)) as here,
    ):
        stream = await here.open(f"localhost:{port}")
        await stream.send(b"ping")
        assert await stream.receive() == b"ping"


async def test_the_certificate_of_a_target_is_verified_by_the_ca_bundle_of_its_row(tmp_path):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").configure_cert(context)
    more = {"scheme": "https", "methods": ["GET"], "paths": ["/"]}

    async def greet(stream: ByteStream) -> None:
        await stream.send(b"hello")

    async with target(greet, context) as port:
        for bundle, expected in (({}, "502"), ({"ca_bundle": tmp_path / "ca.pem"}, "200")):
            async with site([Row(address=f"localhost:{port}", **more, **bundle)]) as here:
                assert (await here.refusal(f"localhost:{port}", ends_tls=True))[0] == expected
        async with site([Row(address=f"127.0.0.1:{port}", **more, ca_bundle=tmp_path / "ca.pem")]) as here:
            assert await here.refusal(f"127.0.0.1:{port}", ends_tls=True) == ("502", "target-refused")
