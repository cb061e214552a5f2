"""What authors write for senders that sign, and the mistakes that do not load."""

from typing import Any

import pytest

import postern
from postern.access import AccessFault, SenderSignature, Signed, anonymous, bind, github, hmac_header, slack, stripe
from tests.table import table

loose_hmac: Any = hmac_header  # the tables of mistakes break their types on purpose
loose_github: Any = github


def test_each_sender_has_its_header_and_its_tolerance() -> None:
    assert github("hook") == SenderSignature("github", ("hook",), "X-Hub-Signature-256", prefix="sha256=")
    assert stripe("hook") == SenderSignature("stripe", ("hook",), "Stripe-Signature", tolerance=300)
    assert slack("hook") == SenderSignature("slack", ("hook",), "X-Slack-Signature", prefix="v0=", tolerance=300)
    given = hmac_header(header="X-Sig", secret=("new", "old"), algorithm="sha512", encoding="base64", prefix="v1,")
    assert given == SenderSignature("hmac", ("new", "old"), "X-Sig", "sha512", "base64", "v1,")


def test_a_workflow_of_a_sender_has_a_policy_that_no_token_meets() -> None:
    access = anonymous(signed_by=github(["new", "old"]))

    assert bind(access, people={}, tenants=[], audiences=[]) == Signed(url=False, by=github(("new", "old")))


def test_authors_import_them_from_postern() -> None:
    assert (postern.github, postern.stripe, postern.slack, postern.hmac_header) == (github, stripe, slack, hmac_header)


@table(
    ("write", "says"),
    [
        (lambda: loose_github(""), "never the secret itself"),
        (lambda: loose_github(()), 'write github("NAME")'),
        (lambda: loose_github(None), 'write github("NAME")'),
        (lambda: loose_github(7), 'write github("NAME")'),
        (lambda: loose_github([7]), "takes the name of a secret"),
        (lambda: loose_github("a_b"), "letters, digits and hyphens"),
        (lambda: loose_github("hook\n"), "letters, digits and hyphens"),
        (lambda: loose_github("x" * 128), "at most 127"),
        (lambda: loose_github(("a", "b", "c")), "at most 2 secrets"),
        (lambda: loose_github(("Hook", "hook")), "ignore case"),
        (lambda: loose_hmac(header="", secret="s"), "the name of the sender's header"),
        (lambda: loose_hmac(header="X Sig", secret="s"), "the name of the sender's header"),
        (lambda: loose_hmac(header=None, secret="s"), "the name of the sender's header"),
        (lambda: loose_hmac(header="Authorization", secret="s"), "has another meaning"),
        (lambda: loose_hmac(header="content-length", secret="s"), "has another meaning"),
        (lambda: loose_hmac(header="X-Sig", secret="s", algorithm="md5"), "sha256, sha384, sha512, sha1"),
        (lambda: loose_hmac(header="X-Sig", secret="s", algorithm=["sha256"]), "sha256, sha384, sha512, sha1"),
        (lambda: loose_hmac(header="X-Sig", secret="s", encoding="base32"), "hex, base64"),
        (lambda: loose_hmac(header="X-Sig", secret="s", prefix="v1 "), "without spaces"),
        (lambda: loose_hmac(header="X-Sig", secret="s", prefix="v" * 33), "at most 32"),
        (lambda: loose_hmac(header="X-Sig", secret="s", prefix=b"v"), "at most 32"),
        (lambda: anonymous(signed_by="github-hook"), 'write github("NAME")'),  # type: ignore[arg-type]
        (lambda: anonymous(signed=True, signed_by=github("hook")), "one of the two"),
    ],
)
def test_a_mistake_says_how_to_fix_it(write: Any, says: str) -> None:
    with pytest.raises(AccessFault) as caught:
        write()

    assert says in str(caught.value)


@pytest.mark.parametrize(
    "write", [lambda secret: stripe(secret), lambda secret: anonymous(signed_by=secret)], ids=["name", "sender"]
)
def test_a_secret_that_an_author_wrote_in_place_of_its_name_is_not_repeated(write: Any) -> None:
    with pytest.raises(AccessFault) as caught:
        write("whsec_5f1tpvBRhzcQ9n3kE")

    assert "whsec" not in str(caught.value)
