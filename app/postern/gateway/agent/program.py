"""The agent as a process: its signals, its page on loopback, and its links."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from postern.gateway.agent.agent import Agent
from postern.gateway.agent.check import exposed_files
from postern.gateway.agent.settings import AgentSettings, load
from postern.gateway.agent.status_page import StatusPage
from postern.version import own_version

LOOK_UPS = 32
"""Names that are resolved at a time: one whose name server does not answer holds its thread for many seconds."""

log = structlog.get_logger(__name__)


class PortTaken(Exception):
    """The port of the status page is in use."""


def run(path: Path) -> None:
    """Run the agent of this file until SIGTERM or SIGINT. SIGHUP reads the rows of the file again. Raises SettingsFault
    and PortTaken."""
    settings = load(path)
    _run(lambda: _serve(settings, path))


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """On asyncio's own event loop: uvloop reads up to 2 MB ahead of a pause, from each target."""
    with asyncio.Runner(loop_factory=None if sys.platform == "win32" else asyncio.SelectorEventLoop) as runner:
        runner.run(main())


async def _serve(settings: AgentSettings, path: Path) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOK_UPS, "look-up"))
    agent = Agent(settings, lambda: load(path))
    _on_signals(agent)
    for stage in exposed_files(settings):
        log.warning("gateway_file_exposed", why=stage.detail, fix=stage.fix)
    page = await _page(agent, settings.status_port)
    log.info(
        "gateway_started",
        gateway=settings.name,
        servers=list(settings.addresses),
        rows=len(settings.allow),
        version=own_version(),
    )
    try:
        await agent.run()
    finally:
        if page is not None:
            page.close()


def _on_signals(agent: Agent) -> None:
    """Windows has no such signals; there Ctrl+C ends the process at once."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, AttributeError):
        loop.add_signal_handler(signal.SIGTERM, agent.stop)
        loop.add_signal_handler(signal.SIGINT, agent.stop)
        loop.add_signal_handler(signal.SIGHUP, agent.reload)


async def _page(agent: Agent, port: int) -> asyncio.Server | None:
    if port == 0:
        return None
    try:
        return await StatusPage(agent.health, agent.metrics).start(port)
    except OSError as error:
        raise PortTaken(f"port {port} of this machine is in use ({type(error).__name__}): set status_port") from None
