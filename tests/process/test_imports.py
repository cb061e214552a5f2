"""Imports that are not needed: processes start fast, and a laptop needs no Azure."""

import json
import subprocess
import sys
from pathlib import Path

from tests.process.servers import environment

HEAVY = {
    "starlette.applications",
    "azure",
    "msal",
    "aiohttp",
    "requests",
    "uvicorn",
    "uvloop",
    "httpx2",
    "typer",
    "rich",
    "watchfiles",
}


def loaded_after(program: str, folder: Path) -> set[str]:
    """The modules that a fresh interpreter has loaded after a program."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted(set(sys.modules))))"
    command = [sys.executable, "-c", program + tail]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=20, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_what_an_author_imports_pulls_in_no_server_no_azure_and_no_http_client(tmp_path: Path):
    assert not HEAVY & loaded_after("import app", tmp_path)


def test_an_application_whose_workflows_need_no_azure_loads_none(tmp_path: Path):
    """Neither an anonymous workflow nor a guarded one needs it, nor does a connection that is not used."""
    (tmp_path / "two.py").write_text(
        "from postern import anonymous, tenant_users, workflow\n"
        "@workflow(access=anonymous())\nasync def one(ctx): ...\n"
        "@workflow(access=tenant_users())\nasync def two(ctx): ...\n",
        encoding="utf-8",
    )
    program = (
        "from postern.assembly import create_app\nfrom postern.settings import load_settings\n"
        "app = create_app(load_settings(defaults={'workflows': '.', 'audience': 'api://x',"
        " 'tenant_id': '00000000-0000-0000-0000-000000000001', 'key_vault_url': 'https://x.vault.azure.net',"
        " 'azure_credential': 'managed_identity', 'connections': {'c': {'base_url': 'https://c.example',"
        " 'auth': {'type': 'none'}}}}))\n"
        "assert len(app.catalog.snapshot.triggers) == 2\n"
    )
    assert not {"azure", "msal", "aiohttp", "requests"} & loaded_after(program, tmp_path)


def test_a_connection_without_authentication_loads_no_azure_and_no_way_of_signing_in(tmp_path: Path):
    program = (
        "from postern.connections import Connections\nfrom postern.settings import load_settings\n"
        "settings = load_settings(defaults={'connections': {'c': {'base_url': 'https://c.example'"
        ", 'auth': {'type': 'none'}}}})\n"
        "import asyncio\n"
        "async def use():\n    connections = Connections(settings, '')\n    connections.client('c')\n"
        "    await connections.aclose()\n"
        "asyncio.run(use())\n"
    )
    loaded = loaded_after(program, tmp_path)
    assert not {"azure", "msal", "authlib", "cryptography.x509", "postern.connections.auth.entra"} & loaded
