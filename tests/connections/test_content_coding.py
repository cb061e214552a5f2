"""Replies that are compressed although nobody requested it."""

import gzip
import random
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.content_coding import PIECE, NotUnpacked, Unpacker, coding_of, is_known
from postern.connections.faults import ConnectionFault
from postern.http_client import AsyncBaseTransport
from tests.connections.counterparts import always, client_of, listening, shared_pool

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEXT = b'{"orders": [1, 2, 3]}'


@pytest.fixture
async def pool() -> AsyncIterator[AsyncBaseTransport]:
    async with shared_pool() as made:
        yield made


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate without its container": raw_deflate,
    "gzip of two members": lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:]),
}


def unpacked(coding: str, packed: bytes, size: int) -> bytes:
    unpacker = Unpacker(coding)
    parts = [part for at in range(0, len(packed), size) for part in unpacker.unpack(packed[at : at + size])]
    unpacker.end()
    assert all(0 < len(part) <= PIECE for part in parts)
    return b"".join(parts)


@pytest.mark.parametrize("way", PACKED)
@given(data=st.binary(max_size=300), size=st.integers(1, 50))
def test_each_coding_gives_the_same_bytes_in_pieces_of_any_size(way: str, data: bytes, size: int):
    assert unpacked(way.partition(" ")[0], PACKED[way](data), size) == data


@pytest.mark.parametrize("way", PACKED)
def test_a_long_body_comes_in_small_pieces(way: str):
    data = random.Random(1).randbytes(1000) * 1000
    assert unpacked(way.partition(" ")[0], PACKED[way](data), 1 << 20) == data


@pytest.mark.parametrize("way", PACKED)
def test_a_body_that_fills_its_last_piece_is_whole(way: str):
    """Then zlib has read everything, and may still hold what it has not given."""
    for size in range(2 * PIECE - 2, 2 * PIECE + 262, 3):
        data = bytes(size)
        assert unpacked(way.partition(" ")[0], PACKED[way](data), 1 << 20) == data


@pytest.mark.parametrize("way", PACKED)
def test_a_body_that_breaks_off_is_an_error(way: str):
    packed = PACKED[way](TEXT)
    for kept in range(1, len(packed)):
        if way == "gzip of two members" and kept == len(gzip.compress(TEXT[:5])):
            continue  # the first member is whole
        with pytest.raises(NotUnpacked):
            unpacked(way.partition(" ")[0], packed[:kept], 7)


@given(st.binary(min_size=1, max_size=60), st.sampled_from(["gzip", "deflate"]))
def test_other_bytes_are_an_error_or_unpacked_and_nothing_else(data: bytes, coding: str):
    with suppress(NotUnpacked):
        unpacked(coding, data, 9)


def test_nothing_at_all_is_an_empty_body():
    assert unpacked("gzip", b"", 1) == b""


@pytest.mark.parametrize(
    ("written", "coding", "known"),
    [
        ("", "", False),
        ("identity", "", False),
        (" GZIP ", "gzip", True),
        ("identity, gzip", "gzip", True),
        ("gzip, gzip", "gzip, gzip", False),
        ("br", "br", False),
    ],
)
def test_which_coding_a_header_names(written: str, coding: str, known: bool):
    assert coding_of(written) == coding
    assert is_known(coding) is known


@pytest.mark.parametrize("way", PACKED)
async def test_a_reply_that_was_not_asked_to_be_compressed_is_unpacked(pool: AsyncBaseTransport, way: str):
    coding = f"Content-Encoding: {way.partition(' ')[0]}"
    async with listening(always(200, PACKED[way](TEXT), coding, "Content-Type: application/json")) as server:
        found = await client_of(pool, server.url).get("/x")
        assert found.json() == {"orders": [1, 2, 3]}
        assert "content-encoding" not in found.headers
        assert server.received[0].header("accept-encoding") == "identity"


async def test_a_body_that_is_not_what_its_header_says_is_a_fault_of_the_entry(pool: AsyncBaseTransport):
    async with listening(always(200, TEXT, "Content-Encoding: gzip")) as server:
        with pytest.raises(ConnectionFault, match=r"connections\.crm responded with a body that is not in .* gzip"):
            await client_of(pool, server.url).get("/x")
