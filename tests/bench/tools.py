"""What a call of a tool costs beside a request to its trigger: processor time of the server, in both eras of the Model
Context Protocol. Rounds alternate, so that a drift of the machine meets all of them."""

import http.client
import json
from collections.abc import Callable
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.client import BODY
from tests.bench.cost import seconds_of
from tests.bench.servers import ON_RECORD, WORKFLOW, Server

MODERN, LEGACY = "2026-07-28", "2025-11-25"

Send = Callable[[], None]


def measure_tools(server: Server, token: str, *, rounds: int, calls: int, console: Console) -> None:
    """Print the microseconds of processor time of a call, its median over the rounds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    kinds: dict[str, Send] = {
        "POST to the trigger": _post(connection, token, f"/triggers/{WORKFLOW}", BODY, {}),
        "call, revision 2026-07-28": _modern(connection, token, "tools/call", WORKFLOW),
        "call, with initialize": _legacy(connection, token, WORKFLOW),
        "list of 2 tools": _modern(connection, token, "tools/list", ""),
        "POST to the trigger, recorded": _post(connection, token, f"/triggers/{ON_RECORD}", BODY, {}),
        "call, recorded": _modern(connection, token, "tools/call", ON_RECORD),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):  # the first one warms up
        for name, send in kinds.items():
            before = seconds_of(server.pid)
            for _ in range(calls):
                send()
            if number:
                found[name].append(1e6 * (seconds_of(server.pid) - before) / calls)
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in (f"tools, {rounds} rounds of {calls}", "µs of processor", "least"):
        table.add_column(heading, justify="left" if heading.startswith("tools") else "right")
    for name, times in found.items():
        table.add_row(name, f"{median(times):.0f}", f"{min(times):.0f}")
    console.print(table)
    connection.close()


def _post(connection: http.client.HTTPConnection, token: str, path: str, body: bytes, headers: dict[str, str]) -> Send:
    fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"} | headers

    def send() -> None:
        connection.request("POST", path, body, fields)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200 or b'"isError":true' in content or b'"error"' in content:
            raise SystemExit(f"{path} answered {answer.status}: {content[:300]!r}")

    return send


def _modern(connection: http.client.HTTPConnection, token: str, method: str, name: str) -> Send:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {"Mcp-Method": method} | ({"Mcp-Name": name} if name else {})
    return _post(connection, token, "/mcp", _message(method, name, {"_meta": meta}), _of_mcp(MODERN) | headers)


def _legacy(connection: http.client.HTTPConnection, token: str, name: str) -> Send:
    return _post(connection, token, "/mcp", _message("tools/call", name, {}), _of_mcp(LEGACY))


def _of_mcp(revision: str) -> dict[str, str]:
    return {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": revision}


def _message(method: str, name: str, params: dict[str, Any]) -> bytes:
    called = {"name": name, "arguments": json.loads(BODY)} if name else {}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": called | params}).encode()
