"""Missing secrets of senders are found before a request comes."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from postern.access import Signed, anonymous, github, slack
from postern.authoring.context import Context
from postern.authoring.workflow import workflow
from postern.catalog import Snapshot, Trigger
from postern.security.sender_signatures.check import SecretUnread
from postern.security.sender_signatures.missing import EVERY, MissingSecrets

pytestmark = pytest.mark.anyio


@workflow(access=anonymous())
async def hook(ctx: Context) -> None:
    """Nothing."""


OPEN_ONE = Trigger(hook, Signed(url=True, by=None), Path("hook.py"))


def snapshot(*names: str) -> Snapshot:
    """A catalog with workflows of senders with these secrets."""
    ways = [github(name) for name in names] + [slack(("Both", "other"))]
    signed = {str(way): replace(OPEN_ONE, policy=Signed(url=False, by=way)) for way in ways}
    return Snapshot(MappingProxyType({"open": OPEN_ONE, **signed}), ())


class Vault:
    """Secrets, and what was asked."""

    def __init__(self, **found: str | None) -> None:
        self.found = found
        self.asked: list[str] = []

    async def read(self, name: str) -> str:
        self.asked.append(name)
        value = self.found.get(name)
        if value is None:
            raise SecretUnread(f"{name} cannot be read", missing=name not in self.found)
        return value


async def test_a_secret_that_the_vault_does_not_have_is_missing_until_it_has_it() -> None:
    missing, vault = MissingSecrets(), Vault(both="1", other="2")
    before = missing()
    await missing.look(snapshot("hook"), vault.read)
    assert (before, missing()) == ({}, {"hook": "hook cannot be read"})
    vault.found["hook"] = "3"

    await missing.look(Snapshot(MappingProxyType({}), ()), vault.read)  # its workflow is a fault now, and not served

    assert missing() == {}
    assert vault.asked == ["both", "hook", "other", "hook"]


async def test_a_vault_that_does_not_respond_makes_no_secret_missing_and_none_found() -> None:
    missing, vault = MissingSecrets(), Vault(both=None, other="2")
    await missing.look(snapshot("hook"), vault.read)
    assert missing() == {"hook": "hook cannot be read"}
    vault.found["hook"] = None

    await missing.look(snapshot("hook"), vault.read)

    assert missing() == {"hook": "hook cannot be read"}
    assert vault.asked == ["both", "hook", "other", "both", "hook"]


async def test_it_looks_again_after_a_while() -> None:
    missing, vault, waits = MissingSecrets(), Vault(both="1", other="2"), list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await missing.run(lambda: snapshot("hook"), vault.read, sleep)

    assert waits == [EVERY] * 3
    assert vault.asked == ["both", "hook", "other", "hook", "hook"]
