"""What the database keeps of durable runs opens in its own row and column with its own version of the key."""

import os
from hmac import digest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.faults import ConnectionFault
from postern.connections.sealing.sealed_text import CannotOpen, opened_text, sealed_text
from postern.durable.seals import LARGE, KeySeals, NoSeal
from postern.errors import Problem
from tests.connections.sealing.ring import Ring

KEY = bytes(range(32))


@pytest.mark.anyio
async def test_a_new_version_seals_and_the_former_one_opens_what_it_sealed():
    ring = Ring(v1=KEY)
    seals = KeySeals(ring)
    old, first = await seals.seal("run", "request", "a MARKER and a letter that is not ASCII: ß")
    ring.keys["v2"] = os.urandom(32)
    new, second = await seals.seal("run", "request", "b")
    assert (first, second, "MARKER" in old) == ("v1", "v2", False)
    assert await seals.open("run", "request", old, first) == "a MARKER and a letter that is not ASCII: ß"
    assert await seals.open("run", "request", new, second) == "b"
    del ring.keys["v1"]
    with pytest.raises(CannotOpen):
        await seals.open("run", "request", old, first)


@pytest.mark.anyio
async def test_a_large_text_is_sealed_and_opened_like_a_small_one():
    seals = KeySeals(Ring(v1=KEY))
    for size in (LARGE, LARGE + 1):
        kept, version = await seals.seal("run", "reply", "x" * size)
        assert await seals.open("run", "reply", kept, version) == "x" * size
        with pytest.raises(CannotOpen):
            await seals.open("other", "reply", kept, version)


@pytest.mark.anyio
async def test_a_text_of_another_run_or_column_does_not_open():
    seals = KeySeals(Ring(v1=KEY))
    kept, version = await seals.seal("run", "request", "text")
    for run_id, column in (("other", "request"), ("run", "reply"), ("run", "checkpoint 1")):
        with pytest.raises(CannotOpen):
            await seals.open(run_id, column, kept, version)


@pytest.mark.anyio
async def test_a_sealed_text_does_not_open_without_the_setting_nor_an_unsealed_one_with_it():
    kept, version = await KeySeals(Ring(v1=KEY)).seal("run", "request", "text")
    with pytest.raises(CannotOpen, match="POSTERN_DURABLE_KEY_NAME is not set"):
        await NoSeal().open("run", "request", kept, version)
    plain, none = await NoSeal().seal("run", "request", "text")
    assert (plain, none) == ("text", None)
    with pytest.raises(CannotOpen, match="POSTERN_DURABLE_KEY_NAME is set"):
        await KeySeals(Ring(v1=KEY)).open("run", "request", plain, none)


@pytest.mark.anyio
async def test_a_text_is_never_kept_unsealed_because_the_key_is_unavailable():
    with pytest.raises(ConnectionFault):
        await KeySeals(Ring()).seal("run", "request", "text")


@given(st.lists(st.text(max_size=9), min_size=1, max_size=3), st.lists(st.text(max_size=9), min_size=1, max_size=3))
def test_places_are_told_apart_however_their_names_are_written(place: list[str], other: list[str]):
    kept = sealed_text(KEY, tuple(place), b"clear")
    assert opened_text(KEY, tuple(place), kept) == b"clear"
    if place != other:
        with pytest.raises(CannotOpen):
            opened_text(KEY, tuple(other), kept)


@pytest.mark.anyio
async def test_a_mark_cannot_be_made_without_the_key_and_is_the_same_in_each_process():
    marks = [await KeySeals(Ring(v1=KEY)).mark("concurrency\npay\n4711") for _ in range(2)]
    assert marks[0] == marks[1] != await KeySeals(Ring(v1=KEY)).mark("concurrency\npay\n4712")
    others = [
        await NoSeal().mark("concurrency\npay\n4711"),
        await KeySeals(Ring(v1=bytes(32))).mark("concurrency\npay\n4711"),
        digest(KEY, b"concurrency\npay\n4711", "sha256").hex(),  # it is not made with the sealing key itself
    ]
    assert marks[0] not in others
    assert len({*others}) == 3


@pytest.mark.anyio
async def test_without_the_key_there_is_no_mark_and_the_caller_may_come_again():
    with pytest.raises(Problem) as caught:
        await KeySeals(Ring()).mark("concurrency\npay\n4711")
    assert (caught.value.status, caught.value.code) == (503, "durable-key-unavailable")
