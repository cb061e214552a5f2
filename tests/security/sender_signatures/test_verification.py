"""The signatures of senders: known vectors, each way to spoil a request, and random changes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postern.access import Refused, SenderSignature, github, hmac_header, slack, stripe
from postern.security.sender_signatures.verification import LONGEST_HEADER, claimed, fits
from tests.security.sender_signatures.signing import NOW, Headers, by_github, by_header, by_slack, by_stripe, digest
from tests.table import table

BODY = b'{"action": "opened", "number": 1}'
SECRET = "a secret of the sender"

SENDERS: list[tuple[SenderSignature, Callable[[str, bytes], Headers]]] = [
    (github("hook"), by_github),
    (stripe("hook"), by_stripe),
    (slack("hook"), by_slack),
    *[
        (
            hmac_header(header="X-Sig", secret="hook", algorithm=algorithm, encoding=encoding, prefix=prefix),
            lambda secret, body, a=algorithm, e=encoding, p=prefix: by_header(secret, body, a, e, p),
        )
        for algorithm in ("sha1", "sha256", "sha384", "sha512")
        for encoding, prefix in (("hex", ""), ("base64", "v1="))
    ],
]
each_sender = pytest.mark.parametrize(
    ("way", "sign"), SENDERS, ids=lambda value: getattr(value, "sender", None) and f"{value.sender}-{value.algorithm}"
)


def outcome(
    way: SenderSignature, headers: Headers, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), now: float = NOW
) -> str:
    """`in`, or what the operator reads."""
    try:
        claim = claimed(way, headers, now)
    except Refused as refused:
        check = refused.failed
        assert (check.name, check.advice, refused.proved) == ("sender-signature", "", False)
        return f"{check.expected}: {check.found}"
    return "in" if fits(way, claim, body, secrets) else "no match"


def test_the_example_of_githubs_documentation_is_accepted() -> None:
    known = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    headers = [(b"x-hub-signature-256", known)]
    assert outcome(github("hook"), headers, b"Hello, World!", ("It's a Secret to Everybody",)) == "in"


def test_the_example_of_slacks_documentation_is_accepted() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = [
        (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        (b"x-slack-request-timestamp", b"1531420618"),
    ]

    assert outcome(slack("hook"), headers, body, ("8f742231b10e8888abcd99yyyzzz85a5",), 1531420618) == "in"


@each_sender
def test_a_request_of_the_sender_is_accepted_whole_and_only_whole(way: SenderSignature, sign: Any) -> None:
    headers = sign(SECRET, BODY)

    assert outcome(way, headers) == "in"
    assert outcome(way, sign(SECRET, b""), b"") == "in"
    assert outcome(way, headers, BODY + b" ") == "no match"
    assert outcome(way, headers, BODY[:-1]) == "no match"
    assert outcome(way, headers, b"") == "no match"
    assert outcome(way, sign("another secret", BODY)) == "no match"
    assert outcome(way, []).endswith("no such header")
    assert outcome(way, headers * 2).endswith("2 such headers")
    assert outcome(way, [(name, b"") for name, _ in headers]) != "in"
    assert outcome(way, [(name, value + b"0") for name, value in headers]) != "in"
    assert outcome(way, [(name, value[:-2]) for name, value in headers]) != "in"
    assert outcome(way, [(name, value + b"0" * LONGEST_HEADER) for name, value in headers]).startswith("at most 1024")
    assert outcome(way, [(b"authorization", b"Bearer x.y.z"), *headers]) == "in"


@each_sender
def test_while_a_secret_is_replaced_both_are_accepted(way: SenderSignature, sign: Any) -> None:
    both = ("the new secret", SECRET)

    assert [outcome(way, sign(secret, BODY), BODY, both) for secret in (*both, "a third")] == ["in", "in", "no match"]
    assert outcome(way, sign(SECRET, BODY), BODY, ()) == "no match"


@table(("way", "sign"), [(stripe("hook"), by_stripe), (slack("hook"), by_slack)])
@table(
    ("age", "expected"),
    [
        (0, "in"),
        (300, "in"),
        (-300, "in"),
        (301, "a time at most 300 seconds from now: 301 seconds ago"),
        (-301, "a time at most 300 seconds from now: 301 seconds ahead"),
        (10**8, "a time at most 300 seconds from now: 100000000 seconds ago"),
    ],
)
def test_a_signed_time_may_be_five_minutes_off(way: Any, sign: Any, age: int, expected: str) -> None:
    assert outcome(way, sign(SECRET, BODY, NOW - age)) == expected


@table("time", ["", "x", "-1", "1e9", "1700000000.0", "+1700000000", " 1700000000 ", "1" * 13, "\u0661"])
def test_a_time_in_another_form_is_rejected(time: str) -> None:
    signature = digest(SECRET, f"v0:{time}:".encode() + BODY).hex().encode()
    headers = [(b"x-slack-signature", b"v0=" + signature), (b"x-slack-request-timestamp", time.encode())]
    of_stripe = digest(SECRET, f"{time}.".encode() + BODY).hex()

    if time.strip() == str(NOW):  # white space around a value is no part of it (RFC 9110, section 5.5)
        assert outcome(slack("hook"), headers) == "no match"
    else:
        assert outcome(slack("hook"), headers) == "a time in Unix seconds: another form"
    assert outcome(stripe("hook"), [(b"stripe-signature", f"t={time},v1={of_stripe}".encode())]).endswith(
        "another form"
    )


def test_stripe_sends_several_signatures_and_one_of_them_is_enough() -> None:
    good, other = digest(SECRET, f"{NOW}.".encode() + BODY).hex(), "0" * 64
    way = stripe("hook")

    def of(text: str) -> str:
        return outcome(way, [(b"stripe-signature", text.encode())])

    assert of(f"t={NOW},v1={other},v1={good}") == "in"
    assert of(f"t={NOW}, v1={good}, v2=x") == "in"
    assert of(f"v1={good},t={NOW}") == "in"
    assert of(f"t={NOW},v0={good}").endswith("another form")  # v0 is of test events
    assert of(f"t={NOW},t={NOW},v1={good}").endswith("another form")
    assert of(f"v1={good}").endswith("another form")
    assert of(f"t={NOW}," + ",".join([f"v1={other}"] * 8) + f",v1={good}") == "no match"
    assert of(f"t={NOW + 1},v1={good}") == "no match"


@pytest.mark.parametrize(
    "value", ["sha1=" + "0" * 40, "0" * 64, "sha256=" + "0" * 63, "sha256=" + "0" * 66, "sha256=" + "g" * 64, "sha256="]
)
def test_another_form_than_githubs_is_rejected_before_a_secret_is_read(value: str) -> None:
    headers = [(b"x-hub-signature-256", value.encode())]

    assert outcome(github("hook"), headers) == "sha256=SIGNATURE in hex, in X-Hub-Signature-256: another form"


def test_base64_is_accepted_in_its_canonical_form_only() -> None:
    way = hmac_header(header="X-Sig", secret="hook", encoding="base64")
    [(name, value)] = by_header(SECRET, BODY, "sha256", "base64")
    loose = value[:-2] + bytes([value[-2] + 1]) + value[-1:]  # the last two bits of the group are not of the digest

    assert outcome(way, [(name, value)]) == "in"
    for spoiled in (loose, value.rstrip(b"="), value + b"=", value[:10] + b"\n" + value[10:]):
        assert outcome(way, [(name, spoiled)]).endswith("another form"), spoiled


@given(st.sampled_from(SENDERS), st.binary(max_size=200), st.data())
def test_no_request_with_a_changed_byte_is_accepted(
    sender: tuple[SenderSignature, Callable[[str, bytes], Headers]], body: bytes, data: st.DataObject
) -> None:
    way, sign = sender
    headers = sign(SECRET, body)
    assert outcome(way, headers, body) == "in"
    at = data.draw(st.integers(0, len(body)))
    put = data.draw(st.binary(max_size=3))
    end = data.draw(st.integers(at, min(len(body), at + 3)))
    changed = body[:at] + put + body[end:]

    if changed != body:
        assert outcome(way, headers, changed) == "no match"


@given(
    st.sampled_from([way for way, _ in SENDERS]),
    st.lists(
        st.tuples(
            st.sampled_from([b"x-hub-signature-256", b"stripe-signature", b"x-slack-signature", b"x-sig"]),
            st.one_of(st.binary(max_size=200), st.from_regex(rb"(t=[0-9]*,)?(sha256=|v[01]=)?[0-9a-f=,]*")),
        ),
        max_size=3,
    ),
)
@example(github("hook"), [(b"x-hub-signature-256", b"sha256=\xb2" + b"0" * 63)])
@example(stripe("hook"), [(b"stripe-signature", b"t=\xb2,v1=" + b"0" * 64)])
def test_any_header_is_rejected_in_an_orderly_way(way: SenderSignature, headers: Headers) -> None:
    headers = [*headers, (b"x-slack-request-timestamp", str(NOW).encode())]

    assert outcome(way, headers) != "in"
