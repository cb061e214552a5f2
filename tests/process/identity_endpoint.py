"""A managed identity's endpoint (as Container Apps has it) that hands out the text that a test gives it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HEADER = "what-the-container-knows"


@dataclass
class IdentityEndpoint:
    """`token` is what it hands out; with "" it fails. `received` has the query of each request."""

    token: str
    port: int = 0
    received: list[dict[str, list[str]]] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """By which azure-identity finds it."""
        return {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.port}/msi/token", "IDENTITY_HEADER": HEADER}

    def answer(self, path: str, header: str) -> tuple[int, bytes]:
        """Status and body."""
        self.received.append(parse_qs(urlsplit(path).query))
        if header != HEADER or not self.token:
            return 500, b'{"statusCode": 500, "message": "no token"}'
        until = str(int(time.time()) + 3600)
        resource = self.received[-1]["resource"][0]
        members = {"access_token": self.token, "expires_on": until, "resource": resource, "token_type": "Bearer"}
        return 200, json.dumps(members).encode()


@contextmanager
def identity_endpoint(token: str) -> Iterator[IdentityEndpoint]:
    """It listens while the block runs."""
    endpoint = IdentityEndpoint(token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = endpoint.answer(self.path, self.headers.get("X-IDENTITY-HEADER", ""))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "0")  # its client would remember a failure for five seconds
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()
