"""Secrets and certificates near their end."""

import base64
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID
from pydantic import BaseModel
from structlog.testing import capture_logs
from structlog.typing import EventDict

from postern.connections.faults import ConnectionFault
from postern.connections.vault.expiry import (
    DAY,
    EVERY,
    EXPIRED,
    FIRST,
    SOON,
    Expiry,
    certificate_end,
    end_of,
    newly_crossed,
    threshold,
)
from postern.connections.vault.secret import Secret
from postern.connections.vault.vault import Vault
from postern.settings import SecretReference, load_settings
from postern.settings.references import references_within, secret_references
from tests.connections.conftest import Fronted
from tests.process.servers import environment
from tests.table import table

END = 2_000_000_000.0


class Dated:
    """A vault in which each secret has its date, or its fault."""

    def __init__(self, **ends: float | None) -> None:
        self.ends: dict[str, Any] = {name.replace("_", "-"): end for name, end in ends.items()}

    async def read(self, name: str) -> Secret:
        if name not in self.ends:
            raise ConnectionFault(f"the secret {name}", "is not in the Key Vault", "Check its spelling")
        return Secret(name, "the-value", self.ends[name])

    async def read_again(self, name: str, refused: str) -> Secret:
        return await self.read(name)


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


def certificate(key: ec.EllipticCurvePrivateKey, end: float, name: str = "postern") -> x509.Certificate:
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ends = dt.datetime.fromtimestamp(end, dt.UTC)
    return (x509.CertificateBuilder(named, named, key.public_key(), 7, ends - dt.timedelta(days=90), ends)).sign(
        key, SHA256()
    )


def pem(*parts: Any) -> str:
    texts = [
        part.public_bytes(Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for part in parts
    ]
    return b"".join(texts).decode()


@table(
    ("left", "crossed"),
    [
        (31 * DAY, None),
        (30 * DAY + 1, None),
        (30 * DAY, 30),
        (15 * DAY, 30),
        (14 * DAY, 14),
        (7 * DAY, 7),
        (2 * DAY, 7),
        (DAY, 1),
        (1, 1),
        (0, EXPIRED),
        (-DAY, EXPIRED),
    ],
)
def test_the_nearest_threshold_that_was_crossed_decides(left: float, crossed: int | None):
    assert threshold(END, END - left) == crossed


@table(
    ("left", "reported", "expected"),
    [
        (40, None, None),
        (29, None, 30),
        (29, 30, None),
        (13, 30, 14),
        (3, 30, 7),
        (0.5, 7, 1),
        (-1, 1, 0),
        (-9, 0, None),
    ],
)
def test_a_threshold_is_reported_once(left: float, reported: int | None, expected: int | None):
    assert newly_crossed(END, END - left * DAY, reported) == expected


def test_a_certificate_ends_when_it_says_itself():
    key = ec.generate_private_key(ec.SECP256R1())
    made = certificate(key, END)
    chain = certificate(ec.generate_private_key(ec.SECP256R1()), END - DAY, "authority")
    pfx = serialize_key_and_certificates(b"x", key, made, [chain], NoEncryption())
    for secret in (
        Secret("c", pem(made)),
        Secret("c", pem(key, made), content_type="application/x-pem-file"),
        Secret("c", pem(chain, made, key)),
        Secret("c", base64.b64encode(pfx).decode(), content_type="application/x-pkcs12"),
    ):
        assert certificate_end(secret) == END
        assert end_of(secret) == END


def test_the_earlier_of_the_two_dates_is_the_end():
    value = pem(certificate(ec.generate_private_key(ec.SECP256R1()), END))
    assert end_of(Secret("c", value, END - DAY)) == END - DAY
    assert end_of(Secret("c", value, END + DAY)) == END
    assert end_of(Secret("c", "a password", END)) == END
    assert end_of(Secret("c", "a password")) is None


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        ("not base64 at all", "application/x-pkcs12"),
        ("AAAA", "application/x-pkcs12"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
        ("-----BEGIN CERTIFICATE-----", "application/x-pem-file"),
    ],
)
def test_a_certificate_that_cannot_be_read_has_no_end(value: str, content_type: str):
    assert certificate_end(Secret("c", value, content_type=content_type)) is None


@pytest.mark.anyio
async def test_what_is_near_its_end_is_reported_once_for_each_threshold(logged: list[EventDict]):
    clock = Clock(END - 20.5 * DAY)
    expiry = Expiry(
        Dated(near=END, far=END + 900 * DAY, dateless=None),
        {"near": ("connections.graph client_secret", "POSTERN_CLIENT_SECRET_NAME"), "far": (), "dateless": ()},
        now=clock,
    )
    for days in (0, 1, 6, 1, 7, 1, 4, 1):
        clock.now += days * DAY
        assert await expiry.look()
    assert {(line["event"], line["log_level"], line["name"]) for line in logged} == {
        ("secret-expires", "warning", "near")
    }
    assert [line["days"] for line in logged] == [20, 13, 5, 0, -1]
    assert logged[0]["used_by"] == ["connections.graph client_secret", "POSTERN_CLIENT_SECRET_NAME"]
    assert "the-value" not in str(logged)
    assert expiry.ends == {"near": END, "far": END + 900 * DAY}


@pytest.mark.anyio
async def test_a_renewed_secret_is_reported_anew(logged: list[EventDict]):
    clock, vault = Clock(END - 20 * DAY), Dated(near=END)
    expiry = Expiry(vault, {"near": ()}, now=clock)
    await expiry.look()
    vault.ends["near"] = END + 25 * DAY
    await expiry.look()
    clock.now += 20 * DAY
    await expiry.look()
    assert [line["days"] for line in logged] == [20, 25]
    vault.ends["near"] = None
    await expiry.look()
    assert expiry.ends == {}


@pytest.mark.anyio
async def test_what_workflows_requested_is_reported_but_in_no_metric(logged: list[EventDict]):
    vault = Dated(own=None, requested=END)
    expiry = Expiry(vault, {"own": ()}, lambda: ["requested", "OWN"], now=Clock(END - DAY))
    assert await expiry.look()
    assert [(line["name"], line["used_by"]) for line in logged] == [("requested", ["ctx.secret"])]
    assert expiry.ends == {}


@pytest.mark.anyio
async def test_a_secret_that_cannot_be_read_is_reported_once_and_the_others_are_looked_at(logged: list[EventDict]):
    vault = Dated(near=END)
    expiry = Expiry(vault, {"gone": ("connections.x key",), "near": ()}, now=Clock(END - DAY))
    assert not await expiry.look()
    assert not await expiry.look()
    assert [(line["event"], line["name"]) for line in logged] == [
        ("secret-not-read", "gone"),
        ("secret-expires", "near"),
    ]
    assert logged[0]["fault"] == "the secret gone is not in the Key Vault. Check its spelling."
    vault.ends["gone"] = None
    assert await expiry.look()


@pytest.mark.anyio
async def test_what_each_look_found_is_known_by_name_without_values():
    """The console shows it: the end, the users, and why a secret cannot be read."""
    vault = Dated(good=END, never=None)
    expiry = Expiry(
        vault, {"good": ["connections.a key"], "gone": ["triggers.b key"]}, lambda: ["never"], now=lambda: 7
    )
    assert expiry.states == {}
    assert not await expiry.look()
    assert list(expiry.states) == ["good", "gone", "never"]
    good, gone, never = expiry.states.values()
    assert (good.ends, good.used_by, good.fault, good.at) == (END, ("connections.a key",), None, 7)
    assert (never.ends, never.used_by, never.fault) == (None, (), None)
    assert gone.fault is not None
    assert gone.fault.fix == "Check its spelling"
    assert "the-value" not in str(expiry.states)
    vault.ends["gone"] = END
    assert await expiry.look()
    assert expiry.states["gone"].fault is None


@pytest.mark.anyio
async def test_it_looks_soon_after_the_start_then_twice_a_day_and_sooner_after_a_fault(logged: list[EventDict]):
    class Enough(Exception):
        pass

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            vault.ends["gone"] = None
        if len(slept) == 3:
            vault.ends["gone"] = "no number"
        if len(slept) == 4:
            raise Enough

    vault = Dated()
    expiry = Expiry(vault, {"gone": ()}, sleep=sleep, jitter=lambda least, most: (least + most) / 2)
    with pytest.raises(Enough):
        await expiry.run()
    assert slept == [FIRST, SOON, EVERY, SOON]
    assert [line["event"] for line in logged] == ["secret-not-read", "secrets-not-looked-at"]


@pytest.mark.anyio
async def test_it_reads_the_dates_of_the_real_vault(vault: Vault, fronted: Fronted):
    fronted.tenant.put_secret("dated", "value", expires=END)
    expiry = Expiry(vault, {"dated": ()})
    assert await expiry.look()
    assert expiry.ends == {"dated": END}


def test_every_secret_that_the_settings_name_is_found_with_who_uses_it(tmp_path: Path):
    auth = {"type": "entra", "client_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "audience": "api://x"}
    given = {
        "client_secret_name": "Own",
        "connections": {
            "graph": {"base_url": "https://g.example", "auth": {**auth, "client_secret": {"key_vault": "graph"}}},
            "open": {"base_url": "https://o.example", "auth": {"type": "none"}},
        },
        "triggers": {
            "approve": {"url": "https://f.example/x", "auth": {**auth, "client_secret": {"key_vault": "own"}}},
        },
    }
    assert secret_references(load_settings({}, folder=tmp_path, defaults=given)) == {
        "graph": ("connections.graph client_secret",),
        "Own": ("POSTERN_CLIENT_SECRET_NAME", "triggers.approve client_secret"),
    }
    assert secret_references(load_settings({}, folder=tmp_path)) == {}


def test_references_are_found_in_any_entry():
    class Inner(BaseModel):
        key: SecretReference

    class Outer(BaseModel):
        auth: Inner
        keys: tuple[SecretReference, ...]
        named: dict[str, Inner]
        other: str = "x"

    def reference(name: str) -> SecretReference:
        return SecretReference(key_vault=name)

    outer = Outer(auth=Inner(key=reference("a")), keys=(reference("b"),), named={"n": Inner(key=reference("c"))})
    assert [(".".join(path), found.key_vault) for path, found in references_within(outer)] == [
        ("key", "a"),
        ("keys", "b"),
        ("named.n.key", "c"),
    ]


@pytest.mark.process
def test_a_server_without_a_vault_imports_no_azure_and_no_certificates(tmp_path: Path):
    """Not even while it runs."""
    program = (
        "import anyio, json, sys\n"
        "from postern.assembly import create_app\nfrom postern.settings import load_settings\n"
        "async def main():\n"
        "    app = create_app(load_settings(defaults={'workflows': '.', 'client_secret_name': 'x'}))\n"
        "    async with app.router.lifespan_context(app):\n"
        "        await anyio.sleep(0)\n"
        "anyio.run(main)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not {"azure", "authlib", "cryptography.hazmat.primitives.serialization.pkcs12"} & loaded
