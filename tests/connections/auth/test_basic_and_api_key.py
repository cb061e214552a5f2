"""User names with passwords, and API keys: where they are put, and what happens when they are refused."""

import asyncio
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.connections.auth.api_key import ApiKey
from postern.connections.auth.basic import Basic
from postern.connections.auth.entry_secret import AGAIN_SECONDS, EntrySecret
from postern.connections.auth.sign_in import SignIn
from postern.connections.faults import ConnectionFault
from postern.http_client import Request
from postern.settings import ApiKeyAuth, BasicAuth, SecretReference
from tests.connections.token_server import Kept
from tests.table import table

pytestmark = pytest.mark.anyio

REFERENCE = SecretReference(key_vault="sap-secret")
HEADER = ApiKeyAuth(header="X-Api-Key", key=REFERENCE)
QUERY = ApiKeyAuth(query="api+key", key=REFERENCE)


def basic(kept: Kept) -> SignIn:
    return Basic("connections.sap", BasicAuth(username="ada", password=REFERENCE), kept)


def in_header(kept: Kept) -> SignIn:
    return ApiKey("connections.sap", HEADER, kept)


def in_query(kept: Kept) -> SignIn:
    return ApiKey("connections.sap", QUERY, kept)


def kept(value: str = "one") -> Kept:
    return Kept({"sap-secret": value})


def with_user(make, secret: str) -> str:
    """The credential of this secret."""
    return f"ada:{secret}" if make is basic else secret


async def on_request(sign_in: SignIn, url: str = "https://x.example/a") -> Request:
    request = Request("GET", url, headers={"Authorization": "Bearer of the author"})
    sign_in.sign(request, await sign_in.credential())
    return request


@given(st.text().filter(lambda text: ":" not in text and text.isprintable() and text), st.text(min_size=1))
def test_user_name_and_password_are_in_utf_8(username: str, password: str):
    """RFC 7617: a server that splits the pair at its first colon gets both."""
    sign_in = Basic("connections.sap", BasicAuth(username=username, password=REFERENCE), kept())
    request = Request("GET", "https://x.example")
    try:
        sign_in.sign(request, f"{username}:{password}")
    except UnicodeEncodeError:  # halves of surrogate pairs, which no secret has
        return
    decoded = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert decoded.partition(":")[::2] == (username, password)


async def test_basic_replaces_what_the_author_wrote():
    request = await on_request(basic(kept("pass:wörd")))
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() == "ada:pass:wörd"


@pytest.mark.parametrize(
    ("username", "password", "sent"),
    [
        (REFERENCE, None, "one:"),
        (REFERENCE, SecretReference(key_vault="other"), "one:two:2"),
        ("", REFERENCE, ":one"),
    ],
)
async def test_a_key_may_be_the_user_name_or_have_none(username, password, sent: str):
    """Stripe takes its key as user name, Azure DevOps a password without a user name."""
    vault = Kept({"sap-secret": "one", "other": "two:2"})
    sign_in = Basic("connections.sap", BasicAuth(username=username, password=password), vault)
    request = await on_request(sign_in)
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() == sent
    vault.values["sap-secret"] = "new"
    assert await sign_in.another(sent) == sent.replace("one", "new")
    assert [stage.passed async for stage in sign_in.try_out()] == [True] * (2 if password and username else 1)


async def test_a_user_name_from_the_vault_with_a_colon_is_a_clear_fault():
    sign_in = Basic("connections.sap", BasicAuth(username=REFERENCE), kept("planted:x"))
    with pytest.raises(ConnectionFault, match=r"username that cannot be used: .* has a colon") as caught:
        await sign_in.credential()
    assert "planted" not in str(caught.value)


async def test_a_key_in_a_header():
    request = await on_request(in_header(kept("a b/+~")))
    assert request.headers["X-Api-Key"] == "a b/+~"
    assert request.url == "https://x.example/a"


@pytest.mark.parametrize("query", ["", "?a=1", "?$filter=a%20eq%20'b'&a=1&a=2&empty="])
async def test_a_key_in_the_query_leaves_the_rest_as_it_is(query: str):
    request = await on_request(in_query(kept("k&=#?+ /%é")), f"https://x.example/a{query}")
    before, key = str(request.url).rsplit("&" if query else "?", 1)
    assert before == f"https://x.example/a{query}"
    assert request.url.params["api+key"] == "k&=#?+ /%é"
    assert key.isascii()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_key_in_the_query_is_read_back(key: str):
    request = Request("GET", "https://x.example/a?b=1")
    in_query(kept()).sign(request, key)
    assert request.url.params.get_list("api+key") == [key]
    assert request.url.host == "x.example"


@pytest.mark.parametrize("make", [basic, in_header, in_query])
async def test_a_rotated_secret_is_read_again_after_a_rejection(make):
    vault = kept("old")
    sign_in = make(vault)
    old, new = with_user(make, "old"), with_user(make, "new")
    assert await sign_in.credential() == old
    vault.values["sap-secret"] = "new"
    assert await sign_in.another(old) == new
    assert await sign_in.another(old) == new, "a late one gets what the others have got"
    assert vault.fresh_reads == 1
    assert await sign_in.credential() == new


@pytest.mark.parametrize("make", [basic, in_header, in_query])
async def test_a_secret_that_did_not_change_is_not_tried_again(make):
    vault = kept()
    sign_in = make(vault)
    refused = with_user(make, "one")
    assert await asyncio.gather(*(sign_in.another(refused) for _ in range(50))) == [None] * 50
    assert vault.fresh_reads == 1, "an API that always rejects does not cause a vault request at each call"


async def test_after_a_while_a_rejected_secret_is_read_again():
    vault, now = kept(), 0.0
    secret = EntrySecret("connections.sap", "password", REFERENCE, vault, clock=lambda: now)
    assert await secret.another("one") is None
    vault.values["sap-secret"] = "two"
    assert await secret.another("one") is None
    now = AGAIN_SECONDS
    found = await secret.another("one")
    assert found is not None
    assert found.value == "two"


@table("make", [basic, in_header, in_query])
@table("value", ["", " ", "planted\n", " planted", "plan\r\nted: x", "plan\x00ted", "planted\x7f"])
async def test_a_secret_that_is_not_one_line_is_a_clear_fault(make, value: str):
    """Most often a secret was stored with the end of its line."""
    with pytest.raises(ConnectionFault) as caught:
        await make(kept(value)).credential()
    assert str(caught.value).startswith("connections.sap has a ")
    assert "'sap-secret'" in caught.value.wrong
    assert "Store 'sap-secret' in Key Vault again" in caught.value.fix
    assert "planted" not in str(caught.value)


async def test_a_key_that_no_header_can_carry_is_a_clear_fault():
    with pytest.raises(ConnectionFault, match="other than ASCII"):
        await in_header(kept("clé")).credential()


@pytest.mark.parametrize(("make", "key"), [(basic, "password"), (in_header, "key"), (in_query, "key")])
async def test_a_secret_that_cannot_be_read_names_the_entry_and_its_key(make, key: str):
    with pytest.raises(ConnectionFault) as caught:
        await make(Kept({})).credential()
    assert caught.value.entry == "connections.sap"
    assert caught.value.wrong == f"cannot read its {key}: the secret sap-secret is not in the vault"
    assert caught.value.fix == "Correct its name"


@pytest.mark.parametrize(("make", "key"), [(basic, "password"), (in_header, "key"), (in_query, "key")])
async def test_trying_out_shows_the_secret_s_name_and_date(make, key: str):
    vault = kept()
    (stage,) = [each async for each in make(vault).try_out()]
    assert stage.detail == f"sap-secret ({key}), no expiry date"
    vault.expires_on = 1_800_000_000
    (stage,) = [each async for each in make(vault).try_out()]
    assert (stage.name, stage.passed) == ("secret", True)
    assert stage.detail == f"sap-secret ({key}), expires on 2027-01-15"


@pytest.mark.parametrize("make", [basic, in_header, in_query])
@pytest.mark.parametrize("vault", [Kept({}), kept("planted\n")])
async def test_trying_out_tells_how_to_fix_it(make, vault: Kept):
    (stage,) = [each async for each in make(vault).try_out()]
    assert not stage.passed
    assert stage.fix
    assert "planted" not in stage.detail


async def test_no_repr_has_a_secret():
    vault = kept("planted")
    for make in (basic, in_header, in_query):
        sign_in = make(vault)
        await sign_in.credential()
        assert "planted" not in repr(sign_in)
    assert "planted" not in repr(await vault.read("sap-secret"))
