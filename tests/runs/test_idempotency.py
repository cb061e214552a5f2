"""A request that is sent again under its key does not run again."""

import asyncio
import json
import subprocess
import sys
import threading
from base64 import b64encode
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from postern.access import ANYONE, Caller
from postern.errors import Problem
from postern.journal.body_form import Form
from postern.journal.idempotency_keys import (
    KEPT_FOR,
    Claim,
    Claimed,
    Ended,
    Kept,
    Mismatch,
    ReplyNotKept,
    Running,
    claim,
    forget,
    free,
    settle,
)
from postern.journal.journal import Journal
from postern.journal.schema import idempotency_keys
from postern.runs.idempotency import (
    MAX_REPLY_BYTES,
    check_key,
    fingerprint,
    keep,
    replay,
    scope_of,
)
from tests.journal.engines import all_of
from tests.table import table

pytestmark = pytest.mark.slow

JSON = ((b"content-type", b"application/json"),)
NOW = 1_700_000_000.0


def claims(engine: Engine, run_id: str, digest: str = "fingerprint", now: float = NOW, scope: str = "scope") -> Claim:
    with engine.begin() as connection:
        return claim(connection, scope, digest, run_id, now)


def settles(engine: Engine, run_id: str, kept: Kept) -> None:
    with engine.begin() as connection:
        settle(connection, "scope", run_id, kept)


@table(
    ("values", "key"),
    [
        ([b"abc"], "abc"),
        ([b'"abc"'], "abc"),
        ([b' "abc"\t'], "abc"),
        ([b"a"], "a"),
        ([b"~" * 255], "~" * 255),
        ([b'"' + b"~" * 255 + b'"'], "~" * 255),
        ([rb'"a\"b\\c"'], r'a"b\c'),
        ([rb"a\c"], r"a\c"),
        ([b'a"b'], 'a"b'),
        ([b"8e03978e-40d5-43e8-bc93-6894a57f9324"], "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ([], None),
        ([b"abc", b"abc"], None),
        ([b""], None),
        ([b" "], None),
        ([b'""'], None),
        ([b'"'], None),
        ([b'"abc'], None),
        ([b'"a"b"'], None),
        ([rb'"a\b"'], None),
        ([b'"abc";v=1'], None),
        ([b'"abc", "def"'], None),
        ([b"abc, def"], None),
        ([b"a b"], None),
        ([b'"a b"'], None),
        ([b"a\x00"], None),
        ([b"a\nb"], None),
        ([b"abc\n"], None),
        ([b"a\x7f"], None),
        (["schlüssel".encode()], None),
        ([b"~" * 256], None),
        ([b'"' + b"~" * 256 + b'"'], None),
        ([b"~" * 100_000], None),
    ],
)
def test_a_key_is_1_to_255_visible_characters_in_one_field(values, key):
    if key is not None:
        assert check_key(values) == key
        return
    with pytest.raises(Problem) as raised:
        check_key(values)
    assert (raised.value.status, raised.value.code) == (400, "bad-idempotency-key")
    assert not any(
        value and value.decode("latin-1") in str(raised.value.__dict__) for value in values if len(value) > 2
    )


texts = st.text(st.characters(), max_size=8)
callers = st.just(ANYONE) | st.builds(Caller, st.sampled_from(["user", "application"]), texts, texts)


@given(st.tuples(texts, callers, texts), st.tuples(texts, callers, texts))
def test_no_two_workflows_callers_or_keys_share_a_scope(one, other):
    def parts_of(who: tuple[str, Caller, str]) -> tuple[Any, ...]:
        workflow, caller, key = who
        anonymous = caller.kind == "anonymous"
        return workflow, anonymous, *(() if anonymous else (caller.tenant_id, caller.object_id)), key

    assert (scope_of(*one) == scope_of(*other)) == (parts_of(one) == parts_of(other))


@given(st.lists(texts, min_size=4, max_size=4), st.integers(0, 6))
def test_text_that_moves_to_another_part_gives_another_scope(parts, moved):
    workflow, tenant, person, key = parts
    joined = tenant + person
    caller = Caller("user", person, tenant)
    shifted = Caller("user", joined[moved:], joined[:moved])
    same = (shifted.tenant_id, shifted.object_id) == (tenant, person)
    assert (scope_of(workflow, caller, key) == scope_of(workflow, shifted, key)) == same


def test_a_scope_says_nothing_of_its_key():
    scope = scope_of("hello", ANYONE, "a-key")
    assert len(scope) == 64
    assert set(scope) <= set("0123456789abcdef")
    assert scope != scope_of("hello", Caller("user", "anonymous", ""), "a-key")


def test_requests_that_differ_anywhere_have_different_fingerprints():
    request = ("POST", "/triggers/x", b"", "application/json", b"{}")
    others = [
        ("PUT", *request[1:]),
        ("POST", "/triggers/x/1", *request[2:]),
        ("POST", "/triggers/x", b"a=1", *request[3:]),
        ("POST", "/triggers/x", b"", "text/plain", b"{}"),
        ("POST", "/triggers/x", b"", "application/json", b"{} "),
        ("POST", "/triggers/x", b"application/json", "", b"{}"),
    ]
    assert len({fingerprint(*each) for each in [request, *others]}) == 7
    assert fingerprint(*request) == fingerprint(*request)


def test_the_first_request_has_the_key(engine):
    assert claims(engine, "run-1") == Claimed()
    assert claims(engine, "run-2") == Running("run-1")
    assert claims(engine, "run-3", "another fingerprint") == Mismatch()
    assert claims(engine, "run-4", scope="another scope") == Claimed()


def test_a_claim_that_is_repeated_is_the_same_claim(engine):
    assert [claims(engine, "run-1") for _ in range(3)] == [Claimed()] * 3


def test_two_claims_of_one_transaction_are_one_claimed(engine):
    with engine.begin() as connection:
        assert claim(connection, "scope", "fingerprint", "run-1", NOW) == Claimed()
        assert claim(connection, "scope", "fingerprint", "run-2", NOW) == Running("run-1")


def test_a_claim_that_is_rolled_back_was_none(engine):
    with engine.connect() as connection, connection.begin() as transaction:
        claim(connection, "scope", "fingerprint", "run-1", NOW)
        transaction.rollback()
    assert claims(engine, "run-2") == Claimed()


@pytest.mark.parametrize(
    ("headers", "content", "form"),
    [
        (JSON, b'{"a":"\xc3\xa9"}', "text"),
        (JSON, b"null", "text"),
        ((), b"", "none"),
        (((b"content-type", b"image/png"), (b"x-note", b"caf\xe9")), b"\x89PNG\x00", "base64"),
        ((), b"with\x00nul", "base64"),
        ((), b"~" * MAX_REPLY_BYTES, "text"),
        (JSON, b'[["a", 1], {"page": 3, "key": "value"}, 1e5, 123456789012345678901]', "text"),
    ],
)
def test_a_reply_is_given_again_byte_for_byte(engine, headers, content, form):
    claims(engine, "run-1")
    settles(engine, "run-1", keep(201, headers, content, secured=False))
    assert claims(engine, "run-2") == Ended("run-1", 201, headers, content)
    assert claims(engine, "run-2", "another fingerprint") == Mismatch()
    assert all_of(engine, idempotency_keys, "scope")[0]["content_form"] == form


TOKEN = b"eyJhbGciOiJub25lIn0.e30."


@pytest.mark.parametrize(
    ("headers", "content", "secured", "form"),
    [
        (JSON, b'{"iban":"x"}', True, Form.SECURED),
        (JSON, b"", True, Form.SECURED),
        (JSON, b"~" * (MAX_REPLY_BYTES + 1), False, Form.CUT),
        (JSON, b"[" + b"0," * 30_000 + b"0]", False, Form.CUT),
        (JSON, b'{"a":{"client_secret":"x"}}', False, Form.REDACTED),
        (JSON, b'["' + TOKEN + b'"]', False, Form.REDACTED),
        ((), b"plain text with " + TOKEN, False, Form.REDACTED),
        ((), b"\xff\x00 and " + TOKEN, False, Form.REDACTED),
        (((b"set-cookie", b"session=x"),), b"{}", False, Form.REDACTED),
        (((b"x-note", TOKEN),), b"{}", False, Form.REDACTED),
    ],
)
def test_of_a_reply_that_may_not_be_written_down_only_the_status_is_kept(engine, headers, content, secured, form):
    claims(engine, "run-1")
    settles(engine, "run-1", keep(200, headers, content, secured=secured))
    assert claims(engine, "run-2") == ReplyNotKept("run-1")
    assert claims(engine, "run-2", "another fingerprint") == Mismatch()
    (row,) = all_of(engine, idempotency_keys, "scope")
    assert (row["status"], row["reply_headers"], row["content"], row["content_form"]) == (200, None, None, form)


def test_a_long_text_that_is_no_json_is_kept(engine):
    claims(engine, "run-1")
    settles(engine, "run-1", keep(200, (), b"1,2,3\n" * 30_000, secured=False))
    assert claims(engine, "run-2") == Ended("run-1", 200, (), b"1,2,3\n" * 30_000)


def test_a_key_is_free_again_after_24_hours(engine):
    claims(engine, "run-1")
    settles(engine, "run-1", keep(200, JSON, b"1", secured=False))
    assert claims(engine, "run-2", now=NOW + KEPT_FOR) == Ended("run-1", 200, JSON, b"1")
    assert claims(engine, "run-3", "another", now=NOW + KEPT_FOR + 1) == Claimed()
    assert claims(engine, "run-4", "another", now=NOW + KEPT_FOR + 2) == Running("run-3")
    settles(engine, "run-1", keep(200, JSON, b"2", secured=False))
    assert claims(engine, "run-4", "another", now=NOW + KEPT_FOR + 3) == Running("run-3")


def test_a_key_without_a_run_that_ended_can_be_given_back(engine):
    def gives_back(operation: Any, *arguments: Any) -> None:
        with engine.begin() as connection:
            operation(connection, *arguments)

    claims(engine, "run-1")
    gives_back(forget, "scope", "run-0")
    assert claims(engine, "run-2") == Running("run-1")
    gives_back(forget, "scope", "run-1")
    assert claims(engine, "run-2") == Claimed()
    gives_back(free, [f"run-{number}" for number in range(3, 1203)])
    assert claims(engine, "run-3") == Running("run-2")
    gives_back(free, [f"run-{number}" for number in range(1202, 1, -1)])
    assert claims(engine, "run-3") == Claimed()
    settles(engine, "run-2", keep(200, JSON, b"too late", secured=False))
    assert claims(engine, "run-4") == Running("run-3")
    settles(engine, "run-3", keep(200, JSON, b"1", secured=False))
    gives_back(free, ["run-3"])
    gives_back(forget, "scope", "run-3")
    gives_back(free, [])
    assert claims(engine, "run-4") == Ended("run-3", 200, JSON, b"1")


def test_a_stored_reply_is_marked_and_bears_the_id_of_its_run():
    reply = replay(Ended("run-1", 201, JSON, b"{}"))
    assert (reply.status, reply.content) == (201, b"{}")
    assert reply.headers == (*JSON, (b"idempotent-replayed", b"true"))


@pytest.mark.parametrize(
    ("found", "status", "code", "run_id", "headers"),
    [
        (Running("run-1"), 409, "run-in-progress", "run-1", {"Retry-After": "1", "X-Run-Id": "run-1"}),
        (ReplyNotKept("run-1"), 409, "reply-not-kept", "run-1", {"X-Run-Id": "run-1"}),
        (Mismatch(), 422, "idempotency-key-reused", None, {}),
    ],
)
def test_without_a_stored_reply_there_is_a_problem(found, status, code, run_id, headers):
    with pytest.raises(Problem) as raised:
        replay(found)
    document = raised.value.document("request-1")
    assert (document["status"], document["code"], document.get("run_id")) == (status, code, run_id)
    assert raised.value.headers == headers


def test_a_replys_content_is_not_in_its_repr():
    shown = repr([Ended("run-1", 200, ((b"x-a", b"private"),), b"private"), keep(200, JSON, b"private", secured=False)])
    assert "private" not in shown
    assert b64encode(b"private").decode() not in shown


def test_of_50_simultaneous_claims_one_gets_the_key(engine):
    ready = threading.Barrier(50)
    found: list[Claim] = []

    def send(number: int) -> None:
        ready.wait(10)
        found.append(claims(engine, f"run-{number}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (row,) = all_of(engine, idempotency_keys, "scope")
    assert found.count(Claimed()) == 1
    assert found.count(Running(row["run_id"])) == 49


@pytest.mark.anyio
@pytest.mark.process
async def test_of_50_simultaneous_claims_in_two_journals_one_gets_the_key(database_url):
    journals = [Journal(database_url), Journal(database_url)]
    for journal in journals:
        await journal.open()
    claims = [
        journals[number % 2].write(
            partial(claim, scope="scope", fingerprint="fingerprint", run_id=str(number), now=NOW)
        )
        for number in range(50)
    ]
    found = await asyncio.gather(*claims)
    for journal in journals:
        await journal.aclose()
    assert found.count(Claimed()) == 1
    assert found.count(Running(str(found.index(Claimed())))) == 49


@pytest.mark.anyio
@pytest.mark.process
async def test_batches_that_claim_the_same_keys_in_opposite_order_all_come_to_an_end(database_url):
    journals = [Journal(database_url), Journal(database_url)]
    for journal in journals:
        await journal.open()
    keys = [f"scope-{number}" for number in range(40)]
    claims = [
        journal.write(partial(claim, scope=key, fingerprint="fingerprint", run_id=f"{key} of {journal.node}", now=NOW))
        for journal, order in zip(journals, (keys, keys[::-1]), strict=True)
        for key in order
    ]
    found = await asyncio.gather(*claims)
    for journal in journals:
        await journal.aclose()
    assert found.count(Claimed()) == 40


CLAIMING = """
import json, sys
from postern.journal.idempotency_keys import claim
from postern.journal.database.engine import open_engine
engine = open_engine(sys.argv[1], writing=True)
engine.connect().close()
print("ready", flush=True)
sys.stdin.readline()
found = []
for number in range(100):
    with engine.begin() as connection:
        found.append(type(claim(connection, f"scope-{number}", "fingerprint", f"{sys.argv[2]}-{number}", 1.0)).__name__)
print(json.dumps(found))
"""


@pytest.mark.process
def test_of_two_processes_one_gets_each_key(engine, database_url):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMING, database_url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        one, two = (json.loads(process.communicate(timeout=30)[0]) for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(one) == 100
    assert all({first, second} == {"Claimed", "Running"} for first, second in zip(one, two, strict=True))
    assert len(all_of(engine, idempotency_keys, "scope")) == 100
