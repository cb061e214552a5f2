"""An other side that repeats what it is sent, credentials included, in bodies, headers and the words of its status: a
resource, a trigger and a token endpoint. What it was sent, and what it gave away, is kept for tests."""

import base64
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from postern.local_tenant import LocalTenant

STATUSES = {"ok": 200, "refused": 401, "forbidden": 403, "fails": 500, "elsewhere": 307}
CONNECTIONS = (
    "none",
    "basic",
    "header-key",
    "query-key",
    "oauth-header",
    "oauth-body",
    "oauth-jwt",
    "oauth-refused",
    "entra-secret",
    "entra-wrong",
    "entra-certificate",
)
TRIGGERS = ("signed", "keyed", "flow")


def marker() -> str:
    """A value that is nowhere else, no piece of it."""
    return secrets.token_hex(24)


def private_key() -> str:
    """A key in PEM."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def certificate() -> str:
    """A certificate and its key in PEM, as Key Vault keeps them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "caller")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=300))
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + made.public_bytes(Encoding.PEM).decode()


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Parrot:
    """The server, while the block runs. `secrets` is what it gave away; `credentials` what it was sent."""

    def __init__(self) -> None:
        self.signature = marker()
        self.poll_signature = marker()
        self.tokens = [marker() for _ in range(3)]
        self.credentials: set[str] = set()
        self.released = threading.Event()
        parrot = self

        class Handler(_Handler):
            side = parrot

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def secrets(self) -> list[str]:
        """What it gave away, and the signature that is in the address of a trigger."""
        return [self.signature, self.poll_signature, *self.tokens]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    side: Parrot
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        heard = self._heard(b"")
        if path.endswith("/poll"):
            self._answer(200, {"heard": heard})
        else:
            self._outcome(path.rpartition("/")[2], heard)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        heard = self._heard(body if path.startswith("/token") else b"")
        if path == "/token":
            token = secrets.choice(self.side.tokens)
            self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})
        elif path == "/token/refused":
            self._answer(401, {"error": "invalid_client", "error_description": f"wrong: {heard}"})
        else:
            with suppress(ValueError, TypeError):
                self._outcome(json.loads(body)["outcome"], heard)

    def _outcome(self, outcome: str, heard: str) -> None:
        if outcome == "slow":
            self.side.released.wait(20)
        if outcome == "later":
            where = f"{self.side.url}/poll?sig={self.side.poll_signature}"
            self._answer(202, {"heard": heard}, {"Location": where, "Retry-After": "0"})
        elif outcome == "elsewhere":
            self._answer(307, {"heard": heard}, {"Location": f"http://localhost:9/?heard={heard[:500]}"})
        else:
            status = STATUSES.get(outcome, 200)
            more = {"WWW-Authenticate": f'Bearer error_description="{heard[:500]}"'} if status == 401 else {}
            self._answer(status, {"error": {"code": heard, "message": heard}, "detail": heard, "title": heard}, more)

    def _heard(self, body: bytes) -> str:
        """Keep every credential of the request, and give all of them in a line."""
        found = [value for name, value in self.headers.items() if name.lower() in ("authorization", "x-api-key")]
        found += [value for _, value in parse_qsl(urlsplit(self.path).query)]
        form = dict(parse_qsl(body.decode("latin-1")))
        found += [form[name] for name in ("client_secret", "client_assertion", "assertion") if name in form]
        given = list(_unfolded(found))
        self.side.credentials.update(each for each in given if len(each) > 20)
        return " ".join(given).replace('"', "").replace("\n", " ")

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        with suppress(OSError):
            self.send_response(status, str(document)[:300].replace("\n", " "))
            sent = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in (sent | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _unfolded(values: list[str]) -> Iterator[str]:
    """Credentials as they are, without their scheme, and what Basic folds up."""
    for value in values:
        scheme, _, rest = value.partition(" ")
        yield rest or scheme
        if scheme.lower() == "basic":
            with suppress(ValueError):
                yield unquote_plus(base64.b64decode(rest).decode().partition(":")[2])


def entries(parrot: Parrot, tenant: LocalTenant) -> str:
    """A `postern.toml` with an entry for each of CONNECTIONS and TRIGGERS."""
    caller = tenant.applications["nightly-report"]
    token = f'type = "oauth2", token_url = "{parrot.url}/token", client_id = "caller", scopes = ["all"]'
    oauth_secret = 'client_secret = { key_vault = "oauth-secret" }'
    entra = 'type = "entra", audience = "https://graph.microsoft.com"'
    auths = {
        "none": 'type = "none"',
        "basic": 'type = "basic", username = "clerk", password = { key_vault = "basic-password" }',
        "header-key": 'type = "api_key", header = "X-Api-Key", key = { key_vault = "header-key" }',
        "query-key": 'type = "api_key", query = "key", key = { key_vault = "query-key" }',
        "oauth-header": f'{token}, {oauth_secret}, client_authentication = "header"',
        "oauth-body": f'{token}, {oauth_secret}, client_authentication = "body"',
        "oauth-jwt": f'{token}, private_key = {{ key_vault = "oauth-key" }}, client_authentication = "private_key_jwt"',
        "oauth-refused": f"{token.replace('/token', '/token/refused')}, {oauth_secret}",
        "entra-secret": f'{entra}, client_id = "{caller.client_id}", '
        'client_secret = { key_vault = "nightly-report-client-secret" }',
        "entra-wrong": f'{entra}, client_id = "{tenant.applications["backup-job"].client_id}", '
        'client_secret = { key_vault = "entra-wrong" }',
        "entra-certificate": f'{entra}, client_id = "{caller.client_id}", '
        'certificate = { key_vault = "entra-certificate" }',
    }
    urls = {
        "signed": (f"{parrot.url}/invoke?sig={parrot.signature}", "none"),
        "keyed": (f"{parrot.url}/invoke", "header-key"),
        "flow": (f"{parrot.url}/invoke?api-version=1", "entra-secret"),
    }
    written = [
        f'[connections.{name}]\nbase_url = "{parrot.url}/orders"\nauth = {{ {auths[name]} }}\n' for name in CONNECTIONS
    ]
    written += [
        f'[triggers.{name}]\nurl = "{urls[name][0]}"\nauth = {{ {auths[urls[name][1]]} }}\n' for name in TRIGGERS
    ]
    return "\n".join(written)
