"""Imports that are not needed: processes start fast, and a laptop needs no Azure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from postern.catalog.trial import _CHILD
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
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages(loaded: set[str]) -> set[str]:
    """The packages of others among the modules, by their import names. Debian's own Python loads sitecustomize."""
    names = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"sitecustomize"}
    return {name for name in names if not name.startswith(("_", "cython"))} - {"postern", "workflows"}


SERVES = {
    *("annotated_doc", "annotated_types", "anyio", "click", "cryptography", "dotenv", "greenlet", "h11", "httpcore2"),
    *(
        "httptools",
        "httpx2",
        "idna",
        "jwt",
        "pydantic",
        "pydantic_core",
        "sqlalchemy",
    ),
    "python_multipart",  # Starlette's own import, where it is installed: 2 ms
    *("h2", "hpack", "hyperframe"),  # httpcore2's own import, where they are installed: the extra `gateway`
    *("starlette", "tenacity", "truststore", "typing_extensions", "typing_inspection", "uvicorn", "watchfiles"),
}
"""What a server needs to serve its triggers."""
PRINTS = {"shellingham", "structlog", "typer"}
"""What it prints with: its log, and the table of workflows."""
PAGES = (
    *("postern.console.", "postern.openapi.", "postern.local_tenant.", "postern.telemetry.otlp", "postern.testing"),
    *("postern.api.routes", "postern.api.docs", "postern.api.handlers", "postern.api.representation"),
    *("postern.assembly.api_pages", "postern.assembly.console", "postern.assembly.review"),
    *("postern.assembly.mcp_endpoint", "postern.assembly.mcp_runs", "postern.mcp.protocol", "postern.mcp.tools"),
    *("postern.api.run_actions", "postern.api.grant_actions", "postern.api.signed_url_actions"),
    *("postern.connections.grants.server_grants", "postern.security.review.", "postern.security.revocation.revoking"),
)
"""Modules, or rooms, of which no request to a trigger needs anything: they are loaded with the first page."""
UNUSED = {
    *("sqlalchemy.dialects.postgresql", "sqlalchemy.orm", "alembic", "prometheus_client", "jinja2", "dbos"),
    *(
        "mcp",
        "mcp_types",
        "jsonschema",
        "sse_starlette",
        "opentelemetry",
        "azure",
        "msal",
        "psycopg",
        "encodings.cp950",
        "rich",
    ),
}
"""What a server on SQLite without durable workflows, connections and telemetry has no use for."""


def of_pages(loaded: set[str]) -> set[str]:
    """Those of the modules that pages need."""
    return {
        name for name in loaded if name in PAGES or name.startswith(tuple(each for each in PAGES if each[-1] == "."))
    }


def test_a_server_loads_nothing_at_its_start_but_what_its_triggers_need(tmp_path: Path):
    """Each of these packages is a part of the time until it answers. One that is needed later, or with a setting only,
    is imported where it is used."""
    (tmp_path / "one.py").write_text(
        "from postern import tenant_users, workflow\n@workflow(access=tenant_users())\nasync def one(ctx): ...\n",
        encoding="utf-8",
    )
    program = (
        "from postern.cli.commands import _quieten_logs, loaded\n_quieten_logs()\nloaded('serve')\n"
        "from postern.assembly import create_app\nfrom postern.server.process import run, server_config\n"
        "from postern.settings import load_settings\n"
        "app = create_app(load_settings(defaults={'workflows': '.', 'audience': 'api://x',"
        " 'tenant_id': '00000000-0000-0000-0000-000000000001'}))\n"
        "server_config(app).load()\nassert len(app.catalog.snapshot.triggers) == 1\n"
    )
    loaded = loaded_after(program, tmp_path)
    assert packages(loaded) - SERVES - PRINTS == set()
    assert {"sqlalchemy", "starlette", "uvicorn"} <= packages(loaded)
    assert not UNUSED & loaded
    assert of_pages(loaded) == set()


def test_the_modules_of_pages_are_those_that_are_there(tmp_path: Path):
    """Otherwise the test above would find none of them."""
    program = (
        "from postern.assembly import api_pages, console, mcp_endpoint, review\nimport postern.assembly.application\n"
    )
    loaded = of_pages(loaded_after(program, tmp_path))
    unseen = {each for each in PAGES if not any(name == each or name.startswith(each) for name in loaded)}
    assert unseen == {
        *("postern.local_tenant.", "postern.telemetry.otlp", "postern.testing"),  # no page of the server
        "postern.connections.grants.server_grants",  # with an entry that people connect
    }


LEFT_OUT = {
    "token": {"postern.catalog", "sqlalchemy", "httpx2", "rich", "starlette", "watchfiles", "jinja2", "uvicorn"},
    "list": {
        *("sqlalchemy", "httpx2", "rich", "postern.api.representation", "postern.connections", "uvicorn"),
        *("cryptography", "jwt"),
    },
    "call": {"sqlalchemy", "rich", "postern.catalog", "postern.connections", "jinja2", "uvicorn"},
    "dev": {"rich", "sqlalchemy.dialects.postgresql", "postern.local_tenant.app", "postern.assembly.console"},
    "serve": {"rich", "sqlalchemy", "starlette", "httpx2", "cryptography", "postern.catalog", "azure"},
}
"""What each command does not load before it is used: modules of others, of pages, databases and people."""


def test_a_command_loads_nothing_of_the_others(tmp_path: Path):
    """One process is forked for each command. It has what all of these have, and loads one."""
    program = (
        "import json, os, sys\nfrom postern.cli.commands import _quieten_logs, loaded\n_quieten_logs()\n"
        "import postern.settings\n"
        f"for name in {list(LEFT_OUT)}:\n"
        "    if not os.fork():\n"
        "        loaded(name)\n"
        "        with open(name, 'w') as file:\n"
        "            json.dump(sorted(sys.modules), file)\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == 0\n"
    )
    loaded_after(program, tmp_path)
    found = {name: set(json.loads((tmp_path / name).read_text("utf-8"))) for name in LEFT_OUT}
    assert {name: LEFT_OUT[name] & loaded for name, loaded in found.items()} == {name: set() for name in LEFT_OUT}


def test_a_token_is_made_without_logs_event_loops_and_a_search_for_plugins(tmp_path: Path):
    """Scripts make one for each call. This is the whole command, with all that it loads on its way."""
    program = (
        "import sys\nsys.argv = ['postern', 'token']\nfrom postern.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "from pydantic.plugin import _loader\nassert _loader._plugins is None, 'it has looked for plugins'"
    )
    loaded = loaded_after(program, tmp_path)
    assert "postern.local_tenant.tokens" in loaded
    assert not {"structlog", "postern.logs", "asyncio", "anyio", "postern.catalog", "rich"} & loaded


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
    assert not {"postern.access", "postern.authoring.workflow", "urllib.request", "http.client"} & loaded


def test_a_writer_loads_nothing_but_operations_for_what_a_server_sends_it(tmp_path: Path):
    """An operation is sent by the name of its module, and the writer imports that between two batches. This is the
    writer of a server that starts, serves nothing and stops."""
    said = 'import atexit, json, sys; atexit.register(lambda: json.dump(sorted(sys.modules), open("of-writer", "w"))); '
    program = (
        "import asyncio\nfrom postern.journal.writing import writer_process\n"
        f"writer_process.PROGRAM = {said!r} + writer_process.PROGRAM\n"
        "from postern.assembly import create_app\nfrom postern.settings import load_settings\n"
        "app = create_app(load_settings(defaults={'workflows': '.', 'audience': 'api://x',"
        " 'tenant_id': '00000000-0000-0000-0000-000000000001', 'authority': 'https://127.0.0.1:1'}))\n"
        "async def serve():\n    async with app.router.lifespan_context(app):\n        await asyncio.sleep(0)\n"
        "asyncio.run(serve())\n"
    )
    loaded_after(program, tmp_path)
    loaded = set(json.loads((tmp_path / "of-writer").read_text("utf-8")))
    assert {"postern.journal.server_processes", "postern.journal.audit"} <= loaded
    unused = {
        "rich",
        "starlette",
        "httpx2",
        "uvicorn",
        "cryptography",
        "pydantic",
        "postern.authoring.workflow",
    }
    assert unused & loaded == set()


def test_what_tries_a_changed_file_loads_no_more_than_modules_need(tmp_path: Path):
    """It starts for each change of a file."""
    program, begins, _ = _CHILD.partition("new_process(int(")
    loaded = loaded_after(program, tmp_path)
    assert begins
    assert "postern.catalog.trial" in loaded
    assert {
        "rich",
        "attr",
        "sqlalchemy",
        "httpx2",
        "uvicorn",
        "cryptography",
        "starlette.applications",
    } & loaded == set()


def test_a_worker_loads_no_rich_with_what_it_unpickles(tmp_path: Path):
    """`--workers` starts each with this module first, and with the server pickled."""
    begun = "from postern.server.worker_start import begin_worker\n"
    assert not {"structlog", "uvicorn", "starlette"} & loaded_after(begun, tmp_path)
    loaded = loaded_after(f"{begun}begin_worker(b'cpostern.server.process\\nserver_config\\n.', None)\n", tmp_path)
    assert {"structlog", "uvicorn", "postern.server.process"} <= loaded
    assert "rich" not in loaded


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
