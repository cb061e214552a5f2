"""Any token gives a caller or Refused, and never another error."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.access import Refused
from postern.identity.claims import SHAPES
from postern.identity.token import RULES, checks, parse, read
from tests.examples import example_count
from tests.identity.minting import NOW, TENANTS, claims, failed, header, refusal, signing_key, token

pytestmark = pytest.mark.slow


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_rejected(text):
    with contextlib.suppress(Refused):
        parse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CLAIM_NAMES = sorted({*claims(), *SHAPES, "cnf", "tid", "appid", "nonce"})


@settings(max_examples=example_count(200))
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x5t"]), JSON, max_size=2),
    st.dictionaries(st.sampled_from(CLAIM_NAMES), JSON, max_size=3),
)
def test_any_json_in_a_signed_token_is_a_caller_or_a_refusal(head, body):
    text = token({**claims(), **body}, {**header(), **head})
    try:
        parsed = read(text)
    except Refused:
        return
    assert len([*checks(parsed, TENANTS, signing_key(), NOW, 60)]) == len(RULES) + 1
    refusal(text)


@settings(max_examples=example_count(200))
@given(st.data())
def test_a_token_with_one_changed_character_never_verifies(data):
    valid = token()
    at = data.draw(st.integers(0, len(valid) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda character: character != valid[at]))
    assert failed(valid[:at] + other + valid[at + 1 :]) is not None


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    )
)
def test_what_was_signed_is_what_is_read(extra):
    body = {**extra, **claims()}
    assert parse(token(body)).claims == body
