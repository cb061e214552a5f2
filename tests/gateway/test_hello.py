"""The lines on stream 1."""

from itertools import count
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.gateway.hello import (
    LINE_BYTES,
    AgentState,
    ServerState,
    agent_state,
    line,
    objects,
    server_state,
)
from postern.gateway.link import LinkError
from tests.examples import example_count
from tests.table import table

pytestmark = pytest.mark.anyio

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=200)


class Parts(ByteReceiveStream):
    """A stream of these bytes, in parts."""

    def __init__(self, data: bytes, size: int) -> None:
        self._parts = [data[at : at + size] for at in range(0, len(data), size)]

    async def receive(self, max_bytes: int = 0) -> bytes:
        if not self._parts:
            raise anyio.EndOfStream
        return self._parts.pop(0)

    async def aclose(self) -> None:
        self._parts.clear()


async def read(data: bytes, size: int = 1 << 20) -> list[dict[str, Any]]:
    return [found async for found in objects(Parts(data, size))]


@given(nodes=st.lists(NAMES, max_size=5), name=NAMES, draining=st.booleans(), size=st.integers(1, 50))
@settings(max_examples=example_count(30))
async def test_states_come_back_as_they_were_sent(nodes: list[str], name: str, draining: bool, size: int):
    server = ServerState(name, tuple(nodes), "0.2.0", draining)
    agent = AgentState(name, "0.2.0", draining, tuple(nodes), "an error")
    found = await read(line(server) + line(agent), size)
    assert (server_state(found[0]), agent_state(found[1])) == (server, agent)


async def test_a_peer_that_says_more_than_a_hundred_lines_a_second_for_long_is_cut_off():
    moments = count(0.0, 0.002)
    found = objects(Parts(b"{}\n" * 1300, 3), lambda: next(moments))
    for _ in range(1249):
        await anext(found)
    with pytest.raises(LinkError, match="more than 100 lines of its hello a second"):
        await anext(found)


async def test_fields_of_later_versions_are_passed_over():
    (found,) = await read(b'{"agent": "madrid-1", "version": "9", "colour": [1]}\n')
    assert agent_state(found) == AgentState("madrid-1", "9")


async def test_an_error_of_an_agent_is_shown_without_control_characters():
    (found,) = await read(b'{"agent": "a", "version": "1", "error": "\\u001b[2J' + b"x" * 600 + b'"}\n')
    assert agent_state(found).error.isprintable()
    (found,) = await read(b'{"agent": "a", "version": "1", "error": 7}\n')
    assert agent_state(found).error == ""


BAD = [
    b"no json\n",
    b"[1]\n",
    b"[" * 10_000 + b"\n",
    b"x" * (LINE_BYTES + 1),
    b'{"version": "1"}\n',
    b'{"agent": 7, "version": "1"}\n',
    b'{"agent": "", "version": "1"}\n',
    b'{"agent": "a\\u001b[2J", "version": "1"}\n',
    b'{"agent": "' + b"a" * 201 + b'", "version": "1"}\n',
]


@table("sent", BAD)
async def test_a_bad_hello_is_the_one_error(sent: bytes):
    with pytest.raises(LinkError):
        [agent_state(found) for found in await read(sent)]


async def test_a_list_of_nodes_that_is_none_is_the_one_error():
    for nodes in ('"a"', "[1]", '[""]'):
        with pytest.raises(LinkError):
            server_state((await read(f'{{"node": "a", "version": "1", "nodes": {nodes}}}\n'.encode()))[0])
