"""`postern gateway`: the agent beside private systems. It needs none of the server's settings, and loads none of its
parts: neither Starlette nor the database."""

import asyncio
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from postern.plain_text import plain
from postern.settings.sources import SettingsFault

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="The agent's settings.")]

NEEDED = ("h2", "websockets")

commands = typer.Typer(
    help="The agent of a gateway, beside private systems: run, check, install.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="gateway")


@commands.command()
def run(config: Config = Path("gateway.toml")) -> None:
    """Connect to Postern, and open there what the file allows. SIGHUP reads the rows of the file again; SIGTERM ends
    it when open tunnels have ended, after 30 s at most.

    GET /healthz and GET /metrics are on loopback, at `status_port` of the file.
    """
    _check_installed()
    from postern.gateway.agent import program, settings
    from postern.logs import configure_logs, log_format

    try:
        configure_logs(log_format(settings.load(config).log_format))
        program.run(config)
    except (SettingsFault, program.PortTaken) as fault:
        _stop(str(fault))


@commands.command()
def check(config: Config = Path("gateway.toml")) -> None:
    """Check every stage: DNS, proxy, who issued the server's certificate, clock, sign-in, role, link, nodes, and each
    target. Exit code 1 if one failed.

    Run it on the agent's machine, as the agent's user. Nothing is changed, and no secret is shown.
    """
    _check_installed()
    from postern.gateway.agent.settings import load

    try:
        settings = load(config)
    except SettingsFault as fault:
        _stop(str(fault))

    async def stages() -> bool:
        from postern.gateway.agent.check import check as every

        well = True
        async for stage in every(settings):
            typer.echo(plain(f"{stage.state:<8} {stage.name:<12} {stage.detail}"))
            if stage.fix:
                typer.echo(plain(f"         fix: {stage.fix}."))
            well &= stage.state != "failed"
        return well

    raise typer.Exit(0 if asyncio.run(stages()) else 1)


@commands.command()
def install(
    config: Config = Path("/etc/postern-gateway/gateway.toml"),
    shown: Annotated[bool, typer.Option("--print", help="Print the unit, and write nothing.")] = False,
) -> None:
    """Write a unit of systemd that runs the agent, and print the next commands. Run it as root."""
    from postern.gateway.agent.service import FOLDER, UNIT, USER, unit

    if sys.platform != "linux":
        _stop("this is for Linux with systemd; for Windows see deploy/gateway/WINDOWS.md")
    try:
        text = unit(_program(), str(config.absolute()))
    except ValueError as error:
        _stop(str(error))
    if shown:
        typer.echo(text, nl=False)
        return
    path = FOLDER / UNIT
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _stop(f"{path} already exists; not overwritten. Compare it with --print")
    except OSError as error:
        _stop(f"{path} cannot be written ({error.strerror}). Run this as root, or use --print")
    typer.echo(f"Wrote {path}. Next, as root:")
    typer.echo(f"  useradd --system --shell /usr/sbin/nologin {USER}")
    typer.echo(f"  chgrp -R {USER} {config.absolute().parent}")
    typer.echo(f"  systemctl daemon-reload && systemctl enable --now {UNIT}")


def _program() -> str:
    started = Path(sys.argv[0]).absolute()
    found = str(started) if started.name == "postern" else shutil.which("postern")
    return found or str(Path(sys.executable).with_name("postern"))


def _check_installed() -> None:
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        _stop(f"the package {missing[0]} is not installed. Install postern-workflows[gateway]")


def _stop(message: str) -> NoReturn:
    typer.echo(f"postern: {plain(message, lines=True)}", err=True)
    raise typer.Exit(2) from None
