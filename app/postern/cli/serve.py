"""`postern serve`: the server, with the tenant of the settings.

This module loads what the settings need. The database, the catalog and the rest of the server come after the start of
the writer's process, which loads the database meanwhile, on another processor.
"""

from contextlib import closing
from typing import Annotated

import structlog
import typer

from postern.cli.serving import Host, Port, readable_folder, use_address
from postern.cli.terminal import err, fail
from postern.journal.writing.writer_process import EarlyWriter, StartWriter
from postern.logs import configure_logs, log_format, run_streams
from postern.loopback import is_loopback
from postern.runs.breakpoints import refuse_breakpoints
from postern.settings import Settings, load_settings
from postern.settings.audit import check_audit
from postern.settings.grants import check_grants
from postern.settings.role import Role
from postern.settings.sealing import check_durable_key

FROM_ENVIRONMENT = {
    Role.ALL: "create_app_from_environment",
    Role.HTTP: "create_http_app_from_environment",
    Role.WORKER: "create_worker_app_from_environment",
}
"""The functions that make the application in each of several processes."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    workers: Annotated[int, typer.Option(min=1, help="Number of server processes.")] = 1,
    role: Annotated[
        Role, typer.Option(help="http: execute no durable runs. worker: execute durable runs, serve no triggers.")
    ] = Role.ALL,
    host: Host = None,
    port: Port = None,
) -> None:
    """Serve the workflows, with the tenant of the settings (POSTERN_*, .env, postern.toml)."""
    from postern.assembly import durable_is_installed

    if role is Role.WORKER and not durable_is_installed():
        fail("--role worker executes durable runs, which need the extra `durable`: install postern[durable].")
    use_address(host, port)
    settings = load_settings()
    check_grants(settings)
    check_audit(settings)
    check_durable_key(settings)
    configure_logs(log_format(settings.log_format))
    refuse_breakpoints()
    with run_streams():
        if workers > 1:
            raise typer.Exit(_serve(settings, workers, role, None))
        with closing(EarlyWriter()) as writer:
            raise typer.Exit(_serve(settings, workers, role, writer.start))


def _serve(settings: Settings, workers: int, role: Role, start_writer: StartWriter | None) -> int:
    """Serve until a stop signal, and return the exit code."""
    from postern.assembly import create_app, load_catalog
    from postern.cli.catalog_output import print_faults, print_workflows
    from postern.cli.open_database import warn_of_exposed_files
    from postern.journal.database.engine import check_database
    from postern.server.process import run, server_config

    several = workers > 1
    if several:
        check_database(settings.database_url)  # each worker checks it too, but it is said once
    with readable_folder():
        application = (
            f"postern.assembly:{FROM_ENVIRONMENT[role]}"
            if several
            else create_app(settings, role=role, start_writer=start_writer)
        )
        snapshot = (
            load_catalog(settings, trial=True) if isinstance(application, str) else application.catalog
        ).snapshot
    config = server_config(
        application,
        host=settings.host,
        port=settings.port,
        workers=workers,
        factory=several,
        trusted_proxies=settings.trusted_proxies,
    )

    def ready(address: str) -> None:
        warn_of_plain_http(settings)
        warn_of_exposed_files(settings.database_url)
        print_faults(snapshot.faults)
        if role is Role.WORKER:
            err.print("This process executes durable runs. It serves /healthz, /readyz and /metrics only.")
            return
        print_workflows(snapshot, settings.public_url or address, stderr=True)

    return run(config, ready=ready)


def warn_of_plain_http(settings: Settings) -> None:
    """Warn if callers from other machines will be rejected: this server uses plain http, over which it accepts no
    tokens."""
    if not is_loopback(settings.host) and not settings.trusted_proxies:
        structlog.get_logger("postern").warning(
            "no-trusted-proxies",
            host=settings.host,
            fix="set POSTERN_TRUSTED_PROXIES to the addresses of the https proxy: without one, tokens from other "
            "machines are rejected",
        )
