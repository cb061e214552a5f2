"""What becomes of a request for a trigger with signed URLs."""

from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postern.access import Caller, Refused, Signed, anonymous
from postern.authoring.workflow import workflow
from postern.catalog import Trigger
from postern.errors import Problem
from postern.security.signed_urls.check import SignedUrls, caller_of
from postern.security.signed_urls.keys import UrlKeys, secret_name
from postern.security.signed_urls.links import Links
from postern.security.signed_urls.url import Terms, sign
from tests.security.signed_urls.fakes import AWAY, KEY, OTHER, Clock, Table, Vault, row
from tests.table import table

pytestmark = pytest.mark.anyio

PRIMARY, SECONDARY = secret_name("orders", "primary"), secret_name("orders", "secondary")
NOW, UNTIL = 1000.0, 2000
TERMS = Terms("orders", ("GET", "POST"), "partner-x", None, UNTIL)
ROW = row(expires_at=float(UNTIL))


@workflow(access=anonymous(signed=True), methods=("GET", "POST"))
def orders(ctx: Any) -> None: ...


TRIGGER = Trigger(orders, Signed(True, None), Path("orders.py"))


def text(key: bytes) -> str:
    return urlsafe_b64encode(key).decode()


class Here:
    """One server process with a vault and a table."""

    def __init__(self, insecure: str = "") -> None:
        self.clock = Clock(NOW)
        self.vault = Vault({PRIMARY: text(KEY), SECONDARY: text(OTHER)})
        self.table = Table({("orders", "partner-x"): ROW})
        keys = UrlKeys(self.vault, clock=self.clock)
        self.links = Links(self.table.read, self.table.write, clock=self.clock, now=self.clock)
        self.urls = SignedUrls(keys, self.links, lambda _: insecure, lambda *_: None, self.clock)
        self.scope: dict[str, Any] = {}

    async def send(self, query: str, *, method: str = "POST", path: str = "", token: bool = False) -> Caller:
        """The caller of a request with this query."""
        headers = [(b"authorization", b"Bearer x")] if token else []
        self.scope = {
            "query_string": query.encode(),
            "headers": headers,
            "method": method,
            "raw_path": f"/triggers/orders{path}".encode(),
        }
        return await self.urls.sender(TRIGGER, self.scope)

    async def reason(self, query: str, **more: Any) -> str:
        """The check that refuses it, or the code of the problem."""
        try:
            await self.send(query, **more)
        except Refused as refused:
            assert not refused.proved
            return refused.failed.name
        except Problem as away:
            return away.code
        return "let in"


def signed(key: bytes = KEY, **changes: Any) -> str:
    return sign(key, replace(TERMS, **changes)).query


SIG = signed().rpartition("=")[2]


async def test_either_key_lets_in_and_the_caller_is_named_by_the_link_and_nobody_else():
    here = Here()
    for key in (KEY, OTHER):
        assert await here.send(signed(key)) == Caller("anonymous", name="link partner-x") == caller_of("partner-x")


@table(
    ("query", "reason"),
    [
        ("", "link-missing"),
        ("a=b", "link-missing"),
        ("sig=", "link-form"),
        (f"sig={SIG}", "link-form"),
        (f"%73ig={SIG}", "link-form"),
        (signed(bytes(32)), "link-signature"),
        (signed(id="partner-y")[:-43] + SIG, "link-signature"),
        (signed(expires_at=None)[:-43] + SIG, "link-signature"),
        (signed(id="unknown"), "link-unknown"),
        (signed(expires_at=UNTIL + 1), "link-unknown"),
        (signed(expires_at=None), "link-unknown"),
        (signed(methods=("GET",)), "link-method"),
        (signed(workflow="other"), "link-form"),
        (signed(path="/x"), "link-signature"),
        (signed(), "let in"),
    ],
)
async def test_which_check_refuses_a_query(query: str, reason: str):
    assert await Here().reason(query) == reason


async def test_a_link_for_one_path_is_for_no_other():
    here = Here()
    assert await here.reason(signed(path="/x"), path="/x") == "let in"
    assert await here.reason(signed(path="/x"), path="/y") == "link-signature"
    assert await here.reason(signed(), path="/y") == "let in"


async def test_head_is_allowed_where_get_is():
    here = Here()
    assert await here.reason(signed(methods=("GET",)), method="HEAD") == "let in"
    assert await here.reason(signed(methods=("POST",)), method="HEAD") == "link-method"


async def test_it_ends_to_the_second():
    here = Here()
    for now, reason in ((UNTIL - 0.001, "let in"), (float(UNTIL), "link-expired"), (UNTIL + 1.0, "link-expired")):
        here.clock.now = now
        assert await here.reason(signed()) == reason


async def test_one_that_is_revoked_or_of_no_row_is_refused_with_a_valid_signature():
    here = Here()
    here.table.rows["orders", "partner-x"] = replace(ROW, revoked_at=NOW)
    assert await here.reason(signed()) == "link-revoked"
    here.table.rows.clear()
    here.links.forget("orders", "partner-x")
    assert await here.reason(signed()) == "link-unknown"


async def test_a_token_beside_it_is_refused_and_so_is_http_before_the_signature_is_looked_at():
    here = Here()
    assert await here.reason(signed(), token=True) == "link-and-token"
    assert await here.reason("a=b", token=True) == "link-missing"
    plain = Here(insecure="plain http")
    assert await plain.reason(signed()) == "insecure-transport"
    assert here.vault.asked == plain.vault.asked == []


async def test_nothing_after_it_sees_the_signature_whatever_comes_of_it():
    here = Here()
    for query in (signed(), signed(bytes(32)), f"a=b&%53ig=x&%73ig={SIG}", f"sig={SIG}&sig={SIG}"):
        await here.reason(query + "&validationToken=x")
        assert SIG not in str(here.scope)
        assert here.scope["query_string"].endswith(b"validationToken=x")


async def test_a_key_that_was_replaced_lets_new_links_in_without_a_restart_and_the_other_key_never_stops():
    here = Here()
    new = bytes(range(64, 96))
    assert await here.reason(signed()) == "let in"
    here.vault.secrets[PRIMARY] = text(new)
    assert await here.reason(signed(OTHER)) == "let in"
    assert await here.reason(signed(new)) == "let in"
    assert await here.reason(signed()) == "link-signature"
    assert await here.reason(signed(OTHER)) == "let in"


async def test_one_key_is_enough_and_without_any_the_answer_is_503():
    here = Here()
    del here.vault.secrets[SECONDARY]
    assert await here.reason(signed()) == "let in"
    assert await here.reason(signed(OTHER)) == "link-signature"
    bare = Here()
    bare.vault.secrets.clear()
    assert await bare.reason(signed()) == "identity-unavailable"
    assert await bare.reason(signed(bare.urls.keys.dummy)) == "identity-unavailable"


async def test_a_vault_that_is_away_is_503_and_not_a_wrong_signature():
    here = Here()
    here.vault.away = AWAY
    assert await here.reason(signed()) == "identity-unavailable"


async def test_the_database_away_is_503():
    here = Here()
    here.table.away = True
    assert await here.reason(signed()) == "journal-unavailable"


async def test_a_flood_of_wrong_signatures_reads_neither_the_table_nor_the_vault_for_each():
    here = Here()
    for number in range(300):
        assert await here.reason(signed(number.to_bytes(32, "big"))) == "link-signature"
    assert here.table.reads == 0
    assert len(here.vault.asked) == 4


async def test_both_keys_are_computed_each_time(monkeypatch: pytest.MonkeyPatch):
    made: list[bytes] = []

    def count(key: bytes, terms: Terms) -> str:
        made.append(key)
        return sign(key, terms).query[-43:]

    monkeypatch.setattr("postern.security.signed_urls.check.signature", count)
    here = Here()
    await here.reason(signed())
    assert made == [KEY, OTHER]
    del here.vault.secrets[SECONDARY]
    one = Here()
    del one.vault.secrets[SECONDARY]
    made.clear()
    await one.reason(signed())
    assert made == [KEY, one.urls.keys.dummy]


async def test_only_those_who_were_let_in_are_counted():
    here = Here()
    for query in (signed(), signed(bytes(32)), signed(), signed(id="unknown")):
        await here.reason(query)
    await here.links.flush()
    assert [(use.id, use.times, use.at) for use in here.table.written] == [("partner-x", 2, NOW)]
