"""Sealed tokens open in their own row with their own key, and nowhere else."""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.grants.seal import Seal, opened, sealed
from postern.connections.grants.tokens import GrantTokens
from postern.connections.sealing.sealed_text import NONCE_BYTES, CannotOpen
from tests.connections.sealing.ring import Ring

pytestmark = pytest.mark.slow

KEY = bytes(range(32))
TOKENS = GrantTokens("ACCESS-TOKEN", "REFRESH-TOKEN")
TEXTS = st.text(max_size=20)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_what_is_sealed_opens_and_shows_nothing(name: str, owner: str, access: str, refresh: str):
    tokens = GrantTokens(access, refresh)
    made = sealed(KEY, name, owner, tokens)
    assert opened(KEY, name, owner, made) == tokens
    assert made.isascii()


def test_the_same_tokens_are_never_sealed_alike_and_are_not_in_it():
    made = {sealed(KEY, "tickets", "t/lisa", TOKENS) for _ in range(50)}
    assert len({urlsafe_b64decode(each[2:])[:NONCE_BYTES] for each in made}) == 50
    for each in made:
        assert b"TOKEN" not in urlsafe_b64decode(each[2:])


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject):
    """Of the text in the database, and so of the bytes that it stands for."""
    made = sealed(KEY, "tickets", "t/lisa", TOKENS)
    at, bit = data.draw(st.integers(0, len(made) - 1)), data.draw(st.integers(0, 6))
    changed = made[:at] + chr(ord(made[at]) ^ 1 << bit) + made[at + 1 :]
    with pytest.raises(CannotOpen):
        opened(KEY, "tickets", "t/lisa", changed)


def test_every_single_bit_of_the_bytes_is_noticed():
    made = urlsafe_b64decode(sealed(KEY, "a", "b", GrantTokens("c"))[2:])
    for at in range(len(made) * 8):
        flipped = bytearray(made)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(CannotOpen):
            opened(KEY, "a", "b", "1." + urlsafe_b64encode(flipped).decode())


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_it_does_not_open_in_another_row(name: str, owner: str, other_name: str, other_owner: str):
    made = sealed(KEY, name, owner, TOKENS)
    if (name, owner) == (other_name, other_owner):
        other_name += "x"
    with pytest.raises(CannotOpen):
        opened(KEY, other_name, other_owner, made)


@pytest.mark.parametrize(
    ("one", "two"), [(("ab", "c"), ("a", "bc")), (('a", "b', ""), ("a", 'b", "')), (("a", ""), ("", "a"))]
)
def test_names_and_owners_that_join_alike_are_still_told_apart(one: tuple[str, str], two: tuple[str, str]):
    with pytest.raises(CannotOpen):
        opened(KEY, *two, sealed(KEY, *one, TOKENS))


def test_it_does_not_open_with_another_key():
    with pytest.raises(CannotOpen):
        opened(os.urandom(32), "tickets", "t/lisa", sealed(KEY, "tickets", "t/lisa", TOKENS))


@given(st.text() | st.text("abc-_=.1", min_size=3).map("1.".__add__))
def test_what_is_no_sealed_value_does_not_open(text: str):
    with pytest.raises(CannotOpen):
        opened(KEY, "tickets", "t/lisa", text)


def test_another_spelling_of_the_same_bytes_does_not_open():
    made = sealed(KEY, "tickets", "t/lisa", TOKENS)
    for spelled in (made + "=", made + "\n", " " + made, made[2:], "1." + made, made.replace("1.", "2.", 1)):
        with pytest.raises(CannotOpen):
            opened(KEY, "tickets", "t/lisa", spelled)


@pytest.mark.anyio
async def test_the_newest_version_seals_and_older_ones_open_what_they_sealed():
    ring = Ring(v1=KEY)
    seal = Seal(ring)
    old, version = await seal.seal("tickets", "t/lisa", TOKENS)
    ring.keys["v2"] = os.urandom(32)
    new, newest = await seal.seal("tickets", "t/lisa", TOKENS)
    assert (version, newest) == ("v1", "v2")
    for value, by in ((old, "v1"), (new, "v2")):
        assert await seal.open("tickets", "t/lisa", value, by) == TOKENS
    for value, by in ((old, "v2"), (new, "v1"), (old, "v0")):
        with pytest.raises(CannotOpen):
            await seal.open("tickets", "t/lisa", value, by)


def test_what_the_release_before_sealed_opens():
    """The format of grants never changes: this value was made by the code of the commit that added them."""
    kept = "1.AAECAwQFBgcICQoLHCCXWIagkUigFdjA9KdaQaP01XG2KRovcEqxylYsTpAtMIyMw6Bx_Vb5Njl01CAFedCHj2f4vVGdrg=="
    assert opened(KEY, "tickets", "t/lisa", kept) == GrantTokens("ACCESS-TOKEN", "REFRESH-TOKEN", "place")
