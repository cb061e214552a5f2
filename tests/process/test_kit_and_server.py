"""A test that authors write with the kit fails as the same request fails at a server: the access matrix, at both."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from typing import Any

import pytest

from postern.local_tenant import LocalTenant
from postern.testing import project
from postern.testing.session import SESSION
from tests.modules import no_modules_left
from tests.pipeline.test_matrix import MATRIX, Forge, Headers
from tests.process.servers import ROOT, Server, until

Seen = tuple[str, int, Any, Any]
"""The name of a row, and the status, the code and the text of its reply."""


@pytest.fixture
def kit_of_the_same_tenant(tenant: LocalTenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kit takes the tokens of the running server's tenant."""
    monkeypatch.setattr(project, "open_tenant", lambda *_: tenant)
    with chdir(ROOT), no_modules_left():
        yield
    SESSION.close()


def seen(name: str, status: int, content: bytes) -> Seen:
    refused = json.loads(content) if status >= 400 else {}
    return name, status, refused.get("code"), refused.get("detail")


def over_the_wire(port: int, headers: Headers) -> tuple[int, bytes]:
    """The status and the body of a reply. No HTTP client sends such header fields as some rows have."""
    fields = [(b"host", b"127.0.0.1:%d" % port), (b"connection", b"close"), (b"content-length", b"0"), *headers]
    lines = [b"POST /triggers/payroll HTTP/1.1", *(b"%b: %b" % field for field in fields), b"", b""]
    with socket.create_connection(("127.0.0.1", port), 10) as link:
        link.sendall(b"\r\n".join(lines))
        head, _, body = link.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def at_the_kit(rows: list[tuple[str, Headers]]) -> tuple[list[Seen], dict[str, str]]:
    """What the kit replies to each row, and why it refused."""
    server, found, reasons = SESSION.server, [], {}
    for name, headers in rows:
        reply = server.do(server.send("POST", "/triggers/payroll", "127.0.0.1", headers, b""))
        found.append(seen(name, reply.status_code, reply.content))
        if server.refusals:
            reasons[name] = server.refusals.popitem()[1].reason
    SESSION.close()  # from here on this process may use the network
    return found, reasons


def reasons_at(dev: Server, tenant: LocalTenant) -> Counter[str]:
    """How often the running server refused each reason, as it shows its operators."""
    headers = {"Authorization": f"Bearer {tenant.token('ada')}"}
    page = dev.client.get("/refusals?workflow=payroll&limit=200", headers=headers).json()
    found = Counter[str]()
    for refusal in page["refusals"]:
        found[refusal["reason"]] += refusal["count"]
    return found


def test_the_kit_refuses_what_a_server_refuses(dev: Server, tenant: LocalTenant, kit_of_the_same_tenant: None):
    """But for rows that never reach the application: HTTP itself limits the header fields."""
    forge = Forge(tenant)
    rows = [(name, credential(forge)) for name, _, credential in MATRIX]
    here, reasons = at_the_kit(rows)
    before = reasons_at(dev, tenant)
    there = [seen(name, *over_the_wire(dev.port, headers)) for name, headers in rows]
    limited = {name for name, status, _, _ in there if status == 431}
    assert [each for each in here if each[0] not in limited] == [each for each in there if each[0] not in limited]
    why = Counter(reason for name, reason in reasons.items() if name not in limited)
    assert len(limited) < 3
    assert sum(why.values()) > 60
    until(lambda: reasons_at(dev, tenant) - before == why, 10, lambda: f"{reasons_at(dev, tenant) - before}, not {why}")
