"""Many agents in one process: `python -m tests.bench.gateway.many gateway.toml GATEWAYS EACH`. The gateways are named
g0, g1 and so on, and each agent has a name of its own."""

import asyncio
import sys
from pathlib import Path

from postern.gateway.agent.agent import Agent
from postern.gateway.agent.settings import AgentSettings, load
from postern.gateway.agent.sign_in import Tokens
from postern.logs import configure_logs


async def main(path: Path, gateways: int, each: int) -> None:
    """Run until the process is ended."""
    settings = load(path)
    tokens = Tokens(settings)
    async with asyncio.TaskGroup() as tasks:
        for gateway in range(gateways):
            for number in range(each):
                own = settings.model_copy(update={"name": f"g{gateway}", "agent": f"g{gateway}-{number}"})
                tasks.create_task(_agent(own, tokens).run())


def _agent(settings: AgentSettings, tokens: Tokens) -> Agent:
    return Agent(settings, lambda: settings, tokens=tokens)


if __name__ == "__main__":
    configure_logs("json")
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
