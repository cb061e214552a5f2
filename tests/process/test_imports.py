"""Imports that are not needed: processes start fast, and a laptop needs no Azure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def packages(loaded: set[str]) -> set[str]:
    """The packages of others among the modules, by their import names."""
    names = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    return {name for name in names if not name.startswith(("_", "cython"))} - {"postern", "workflows"}


SERVES = {
    *("annotated_doc", "annotated_types", "anyio", "click", "cryptography", "dotenv", "greenlet", "h11", "httpcore2"),
    *(
        "httptools",
        "httpx2",
        "idna",
        "jwt",
        "prometheus_client",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "sqlalchemy",
    ),
    "python_multipart",  # Starlette's own import, where it is installed: 2 ms
    *("h2", "hpack", "hyperframe"),  # httpcore2's own import, where they are installed: the extra `gateway`
    *("starlette", "tenacity", "truststore", "typing_extensions", "typing_inspection", "uvicorn", "watchfiles"),
}
"""What a server needs to serve its triggers."""
PRINTS = {"attr", "pygments", "rich", "shellingham", "structlog", "typer"}
"""What it prints with: its log, and the table of workflows."""


def test_a_server_loads_nothing_at_its_start_but_what_its_triggers_need(tmp_path: Path):
    """Each of these packages is a part of the time until it answers. One that is needed later, or with a setting only,
    is imported where it is used."""
    (tmp_path / "one.py").write_text(
        "from postern import tenant_users, workflow\n@workflow(access=tenant_users())\nasync def one(ctx): ...\n",
        encoding="utf-8",
    )
    program = (
        "from postern.cli.commands import loaded\nloaded('serve')\n"
        "from postern.assembly import create_app\nfrom postern.server.process import run, server_config\n"
        "from postern.settings import load_settings\n"
        "app = create_app(load_settings(defaults={'workflows': '.', 'audience': 'api://x',"
        " 'tenant_id': '00000000-0000-0000-0000-000000000001'}))\n"
        "server_config(app).load()\nassert len(app.catalog.snapshot.triggers) == 1\n"
    )
    loaded = loaded_after(program, tmp_path)
    assert packages(loaded) - SERVES - PRINTS == set()
    assert {"sqlalchemy", "starlette", "uvicorn"} <= packages(loaded)
    assert not {"postern.local_tenant", "postern.assembly.console", "postern.console.routes"} & loaded
    of_gateways = {"postern.assembly.gateways", "postern.gateway.hub", "postern.server.link_protocol", "websockets"}
    assert not of_gateways & loaded


def test_a_command_that_reads_the_catalog_loads_no_server(tmp_path: Path):
    program = (
        "from postern.cli.commands import loaded\nloaded('check')\n"
        "from postern.assembly import load_catalog\nfrom postern.settings import load_settings\n"
        "load_catalog(load_settings(defaults={'workflows': '.'}))\n"
    )
    loaded = loaded_after(program, tmp_path)
    assert "postern.assembly.catalog" in loaded
    assert not {"uvicorn", "jinja2", "starlette.applications"} & loaded
    assert not {"postern.assembly.application", "postern.api.routes", "postern.triggers.pipeline"} & loaded


def test_the_writer_of_records_loads_nothing_but_the_database_to_open_it(tmp_path: Path):
    """The first recorded run of a server waits for it."""
    loaded = loaded_after("import postern.journal.writing.writer", tmp_path)
    assert packages(loaded) - {"greenlet"} == {"pydantic_core", "sqlalchemy", "tenacity", "typing_extensions"}
    assert not {"postern.access", "postern.authoring.workflow"} & loaded


def test_what_an_author_imports_pulls_in_no_server_no_azure_and_no_http_client(tmp_path: Path):
    names = "CallError, Context, Problem, Reply, Request, Retry, anonymous, specific_users, tenant_users, workflow"
    loaded = loaded_after(f"from postern import {names}", tmp_path)
    assert {"postern.access", "postern.authoring.workflow"} <= loaded
    assert not HEAVY & loaded


def test_the_authors_names_are_those_of_the_modules_that_they_name(tmp_path: Path):
    """Each is found, and the module lists them before any of them is used."""
    program = (
        "import postern\nfor name in postern.__all__:\n    assert name in dir(postern)\n"
        "    assert getattr(postern, name) is getattr(postern, name)\n"
        "assert not hasattr(postern, 'nothing')\nfrom postern import *\nassert Context.__name__ == 'Context'\n"
    )
    assert "postern.authoring.context" in loaded_after(program, tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["--version"]], ids=str)
def test_help_loads_no_command(arguments: list[str], tmp_path: Path):
    """Otherwise it would take seconds: none of these is needed to print the table of commands."""
    program = (
        f"import sys\nsys.argv = ['postern', *{arguments}]\nfrom postern.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    loaded = loaded_after(program, tmp_path)
    assert "postern.cli.commands" in loaded
    heavy = {"pydantic", "pydantic_core", "sqlalchemy", "httpx2", "azure", "cryptography", "structlog", "asyncio"}
    assert not (heavy | HEAVY - {"typer", "rich"}) & loaded
    ours = {name for name in loaded if name.startswith("postern.cli.")}
    assert ours == {"postern.cli.commands", "postern.cli.version"}


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
