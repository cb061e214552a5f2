"""What `postern doctor` makes of what it sees: pure decisions."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st

from postern.access import SenderSignature, anonymous, bind
from postern.authoring.workflow import workflow
from postern.catalog import Fault, Snapshot, Trigger
from postern.cli.diagnosis.database import journal_finding, revision_finding, room_finding
from postern.cli.diagnosis.entra import clock_finding
from postern.cli.diagnosis.finding import Finding, failed, ok, run_checks
from postern.cli.diagnosis.here import settings_findings, workflow_findings
from postern.cli.diagnosis.public_url import (
    Seen,
    arrival_findings,
    certificate_finding,
    metrics_finding,
    problem_of,
)
from postern.cli.diagnosis.vault import is_ed25519, named_secrets, secret_findings
from postern.connections.faults import ConnectionFault
from postern.connections.vault.secret import SecretState
from postern.journal.database.revisions import HEAD
from postern.settings import load_settings
from tests.table import table

pytestmark = pytest.mark.slow

URL, GIB, DAY = "https://flows.example", 2**30, 86400.0
ENTRA = datetime(2026, 1, 31, 10, 0, 0, tzinfo=UTC)
PROXIES = ("10.0.0.0/8", "192.0.2.7")


def states(found: list[Finding]) -> list[str]:
    assert all(bool(each.fix) == (each.state != "ok") for each in found), "only what is not ok has a fix"
    assert all(not each.fix.endswith(".") for each in found)
    return [each.state for each in found]


@table(
    ("ahead", "took", "state"),
    [
        (0, 0.1, "ok"),
        (2, 0.1, "ok"),
        (-29, 0.1, "ok"),
        (31, 0.1, "warning"),
        (-45, 0.1, "warning"),
        (62, 0.1, "failed"),
        (-3600, 0.1, "failed"),
        (63, 10, "warning"),  # the response took so long that the clock may be right
    ],
)
def test_the_clock_is_compared_with_the_leeway(ahead: float, took: float, state: str):
    at = ENTRA.timestamp() + 0.5 + ahead
    assert states(clock_finding(ENTRA, at - took / 2, at + took / 2, 60)) == [state]


@table(
    ("seen", "near", "expected"),
    [
        (Seen("unauthenticated", "203.0.113.9"), False, ["ok", "ok"]),
        (Seen("insecure-transport", "203.0.113.9"), False, ["ok", "failed"]),
        (Seen("unauthenticated", "10.1.2.3"), False, ["ok", "warning"]),
        (Seen("unauthenticated", "192.0.2.7"), False, ["ok", "warning"]),
        (Seen("unauthenticated", "127.0.0.1"), False, ["ok", "warning"]),
        (Seen("unauthenticated", "127.0.0.1"), True, ["ok", "ok"]),
        (Seen("unauthenticated", ""), False, ["ok", "ok"]),
        (Seen("unauthenticated", None), False, ["failed"]),
    ],
)
def test_how_a_request_arrives_says_whether_it_is_this_installation_and_what_the_proxy_passes_on(
    seen: Seen, near: bool, expected: list[str]
):
    assert states(arrival_findings(URL, seen, PROXIES, near=near)) == expected


def test_metrics_that_others_can_read_are_a_failure():
    assert (states(metrics_finding(200)), states(metrics_finding(404))) == (["failed"], [])


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (14, "ok"), (13.9, "warning"), (0.1, "warning")])
def test_a_certificate_that_ends_soon_is_a_warning(days: float, state: str):
    assert states(certificate_finding("flows.example", days * DAY, 0.0)) == [state]


@pytest.mark.parametrize(
    ("revision", "state"),
    [(HEAD, "ok"), ("9999_for_0001", "ok"), ("0001", "warning"), ("", "warning"), ("9999", "failed"), ("x", "failed")],
)
def test_the_tables_have_to_fit_this_release(revision: str, state: str):
    assert states(revision_finding(revision, "sqlite:///x.db")) == [state]


@pytest.mark.parametrize(
    ("free", "may_grow", "state"),
    [(10 * GIB, 8 * GIB, "ok"), (7 * GIB, 8 * GIB, "warning"), (50_000_000, 0, "failed"), (GIB, 0, "ok")],
)
def test_the_disk_has_to_have_room_for_the_records(free: int, may_grow: int, state: str):
    assert states(room_finding(free, may_grow)) == [state]


def test_a_database_without_a_write_ahead_log_is_a_warning():
    assert (journal_finding("wal"), states(journal_finding("delete"))) == ([], ["warning"])


def test_secrets_that_cannot_be_read_or_end_soon_are_said_one_by_one():
    broken = SecretState(
        "gone", ("connections.erp client_secret",), fault=ConnectionFault("the secret gone", "is missing", "Add it")
    )
    ends = {"a": None, "b": 100 * DAY, "c": 20 * DAY, "d": -1.0}
    found = secret_findings([*(SecretState(name, ("x",), ends=at) for name, at in ends.items()), broken], 0.0)
    assert states(found) == ["ok", "warning", "failed", "failed"]
    assert "2 of 5" in found[0].detail
    assert (found[3].detail, found[3].fix) == (
        "gone (connections.erp client_secret): the secret gone is missing",
        "Add it",
    )


def test_the_secrets_of_senders_and_signed_urls_are_named_secrets_too():
    @workflow(access=anonymous(signed_by=SenderSignature("github", ("new", "old"), "X-Hub-Signature-256")))
    async def hook(ctx: Any) -> None: ...

    @workflow(access=anonymous(signed=True))
    async def link(ctx: Any) -> None: ...

    triggers = {
        each.name: Trigger(each, bind(each.access, people={}, tenants=[], audiences=[]), Path("hook.py"))
        for each in (hook, link)
    }
    snapshot = Snapshot(triggers, ())
    settings = load_settings({}, defaults={"client_secret_name": "own"})
    assert named_secrets(settings, snapshot) == {
        "new": ("signed_by= of hook",),
        "old": ("signed_by= of hook",),
        "own": ("POSTERN_CLIENT_SECRET_NAME",),
        "postern-url-link-primary": ("signed URLs of link",),
        "postern-url-link-secondary": ("signed URLs of link",),
    }
    assert set(named_secrets(settings, snapshot, local=True)) == {"new", "old", "own"}


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def test_the_audit_key_is_an_ed25519_private_key():
    assert is_ed25519(pem(ed25519.Ed25519PrivateKey.generate()))
    assert not is_ed25519(pem(rsa.generate_private_key(65537, 2048)))
    assert not is_ed25519("")


@given(st.text())
def test_no_other_text_is_an_audit_key(text: str):
    assert not is_ed25519(text)


def test_faulty_modules_and_an_empty_folder_are_said():
    fault = Fault(Path("x.py"), 3, "it is broken", "", ())
    assert states(workflow_findings(Snapshot({}, (fault,)))) == ["ok", "failed"]
    assert states(workflow_findings(Snapshot({}, ()))) == ["warning"]


def test_settings_that_were_probably_not_meant_are_warnings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    settings = load_settings({}, defaults={"limits": {"workflows": {"gone": {"per_caller": "1/second"}}}})
    assert states(settings_findings(settings, ["POSTERN_CLIENT_ID is not set"], Snapshot({}, ()))) == [
        "ok",
        "warning",
        "warning",
    ]


REQUEST = "01a228f9-09e3-7194-8da2-5736f44c7031"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"code": "unauthenticated", "request_id": "%s"}' % REQUEST.encode(), ("unauthenticated", REQUEST)),
        (b'{"code": "unauthenticated", "request_id": "mine"}', ("", "")),
        (b'{"code": 1, "request_id": "%s"}' % REQUEST.encode(), ("", "")),
        (b"[]", ("", "")),
        (b"<html>", ("", "")),
        (b"[" * 100_000, ("", "")),
    ],
)
def test_only_a_problem_of_posterns_is_one(body: bytes, expected: tuple[str, str]):
    assert problem_of(Response(401, content=body)) == expected


@pytest.mark.anyio
async def test_checks_run_at_once_and_one_that_raises_or_hangs_has_failed():
    both = asyncio.Barrier(2)

    async def waits() -> list[Finding]:
        await both.wait()  # for the other one, which therefore runs at the same time
        return ok("met")

    async def raises() -> list[Finding]:
        raise ValueError("secret-marker")

    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return failed("never", "never")

    done: list[int] = []
    found = await run_checks({"a": waits, "b": waits, "c": raises, "d": hangs}, done.append, patience=0.2)
    assert [states(each) for each in found.values()] == [["ok"], ["ok"], ["failed"], ["failed"]]
    assert "secret-marker" not in repr(found)
    assert done == [1, 2, 3, 4]
