"""`postern dev`: the server with a local tenant, for a laptop without Azure."""

import time
from contextlib import closing
from typing import TYPE_CHECKING

import structlog
import typer

from postern.catalog import Trigger, try_folder
from postern.cli.catalog_output import print_advice, print_faults, print_workflows
from postern.cli.first_steps import first_steps
from postern.cli.local_callers import caller_here, callers
from postern.cli.serving import Host, Port, readable_folder, use_address
from postern.cli.terminal import err, program, stop
from postern.cli.workspace import (
    STATE_FOLDER,
    connection_callbacks,
    export_local_credential,
    local_settings,
)
from postern.journal.writing.writer_process import EarlyWriter, StartWriter
from postern.local_tenant import LocalTenant, serve
from postern.logs import configure_logs, log_format, run_streams
from postern.runs.breakpoints import use_breakpoints
from postern.settings import Settings, load_settings

if TYPE_CHECKING:
    from socket import socket

    from uvicorn import Config


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dev)


def dev(host: Host = None, port: Port = None) -> None:
    """Serve the workflows with a local tenant: with people, tokens, Key Vault and directory, on loopback only."""
    use_address(host, port)
    given = load_settings()
    _check(given)
    with closing(EarlyWriter()) as writer:
        raise typer.Exit(_serve(given, writer.start))


def _serve(given: Settings, start_writer: StartWriter) -> int:
    """Serve until a stop signal, and return the exit code."""
    from postern.assembly import create_app
    from postern.cli.open_database import warn_of_exposed_files
    from postern.server.process import bound_address, run, server_config
    from postern.server.request_lines import RequestLines

    configure_logs(log_format(given.log_format))
    use_breakpoints()
    try_folder(given.workflows)  # before the local tenant has threads
    err.print("Starting the local tenant …", style="dim")
    place = server_config(None, host=given.host, port=given.port)
    tenant = LocalTenant.open(STATE_FOLDER, given.people)
    with serve(tenant) as local, _bound(place) as listener, run_streams():
        export_local_credential(local)
        options = callers(local)

        def local_tokens(trigger: Trigger) -> str:
            return f"{program()} token {who}" if (who := options(trigger)) else ""

        address = bound_address(place, listener)
        settings = _with_gateway(local_settings(local, address), local)
        local.sign_ins.redirect_uris |= connection_callbacks(local, settings)
        with readable_folder():
            app = create_app(
                settings,
                local_tokens=local_tokens,
                local_address=address,
                local_caller=caller_here(local),
                make_secret=lambda name: local.vault.make(name, int(time.time())),
                start_writer=start_writer,
            )

        log, catalog = structlog.get_logger("postern"), app.catalog
        lines = RequestLines(app, log, lambda: catalog.snapshot.triggers, lambda: catalog.snapshot.faults)
        config = server_config(lines, trusted_proxies=given.trusted_proxies)

        def ready(address: str) -> None:
            local.set_server_url(address)
            _start_agent(settings, local, address)
            warn_of_exposed_files(settings.database_url)
            snapshot = app.catalog.snapshot
            if settings.console != "off":
                err.print(f"Console: {address}/console", markup=False, highlight=False, soft_wrap=True)
            print_faults(snapshot.faults)
            print_advice(snapshot)
            print_workflows(snapshot, address, stderr=True)
            if settings.mcp and any(each.workflow.tool is not None for each in snapshot.triggers.values()):
                err.print(f"Tools for agents: {address}/mcp", markup=False, highlight=False, soft_wrap=True)
            err.print(first_steps(snapshot, address, options), markup=False, highlight=False, soft_wrap=True)

        return run(config, listener=listener, ready=ready)


def _with_gateway(settings: Settings, local: LocalTenant) -> Settings:
    """The settings whose gateway `local` admits the agent of this process."""
    if "local" not in settings.gateways:
        return settings
    from postern.cli.local_gateway import with_local_agent

    return with_local_agent(settings, local)


def _start_agent(settings: Settings, local: LocalTenant, address: str) -> None:
    """Run the agent of the gateway `local`, which ends with this process."""
    if "local" not in settings.gateways:
        return
    from postern.cli.local_gateway import LocalAgent

    LocalAgent(settings, local, address)
    err.print("Gateway local: its agent runs here.", markup=False, highlight=False)


def _check(given: Settings) -> None:
    if given.tenant_id or given.authority:
        stop(
            "postern dev provides its own tenant, but POSTERN_TENANT_ID or POSTERN_AUTHORITY is set. "
            "Use `postern serve`, or unset them.",
            2,
        )
    if given.host not in ("127.0.0.1", "::1", "localhost"):
        stop(
            f"postern dev listens on loopback only, but POSTERN_HOST is {given.host}. "
            "Unset it, or use `postern serve`.",
            2,
        )


def _bound(place: "Config") -> "socket":
    from postern.server.process import AddressFault, bind

    try:
        return bind(place)
    except AddressFault as fault:
        stop(str(fault), 2)
