"""The check of a request's signature: which secrets it reads, and when it reads them again."""

from collections.abc import Callable
from typing import Any

import pytest

from postern.access import Refused, SenderSignature, github, stripe
from postern.errors import Problem
from postern.security.sender_signatures.check import AGAIN, LARGE, SecretUnread, SenderCheck, SenderSecrets, sender
from tests.security.sender_signatures.signing import NOW, Headers, by_github, by_stripe

pytestmark = pytest.mark.anyio

BODY = b"{}"
BOTH = github(("new", "old"))


class Secrets:
    """A vault with a cache, and what was asked of it."""

    def __init__(self, **current: str) -> None:
        self.current: dict[str, Any] = dict(current)
        self.cached: dict[str, str] = {}
        self.asked: list[str] = []
        self.clock = 0.0
        self.check = SenderCheck(
            SenderSecrets(self.read, self.read_again), now=lambda: float(NOW), clock=lambda: self.clock
        )

    async def read(self, name: str) -> str:
        if name not in self.cached:
            self.cached[name] = self._ask(name)
        return self.cached[name]

    async def read_again(self, name: str, value: str) -> str:
        if self.cached.get(name) == value:
            self.cached[name] = self._ask(name)
        return self.cached[name]

    def _ask(self, name: str) -> str:
        self.asked.append(name)
        found = self.current.get(name, SecretUnread(f"the secret {name} is not in the Key Vault", missing=True))
        if isinstance(found, SecretUnread):
            raise found
        return str(found)

    async def outcome(self, headers: Headers, way: SenderSignature = BOTH, body: bytes = BODY) -> str:
        """`in`, or the reason and the status of the rejection."""
        try:
            await self.check.check(way, headers, body)
        except Refused as refused:
            return f"401 {refused.failed.found}"
        except Problem as problem:
            assert problem.headers == {"Retry-After": "10"}
            assert "secret" not in problem.detail
            return f"{problem.status} {problem.reason}"
        return "in"


async def test_either_secret_is_enough_while_one_is_replaced() -> None:
    secrets = Secrets(new="n", old="o")

    assert await secrets.outcome(by_github("n", BODY)) == "in"
    assert await secrets.outcome(by_github("o", BODY)) == "in"
    assert secrets.asked == ["new", "old"]
    assert await secrets.outcome(by_github("x", BODY)) == "401 another signature"


async def test_a_new_version_of_the_secret_is_used_at_once() -> None:
    secrets = Secrets(hook="before")
    assert await secrets.outcome(by_github("before", BODY), github("hook")) == "in"
    secrets.current["hook"] = "after"

    assert await secrets.outcome(by_github("after", BODY), github("hook")) == "in"
    assert await secrets.outcome(by_github("before", BODY), github("hook")) == "401 another signature"


async def test_what_cannot_be_signed_reads_no_secret() -> None:
    secrets = Secrets(hook="s")

    assert await secrets.outcome([]) == "401 no such header"
    assert await secrets.outcome(by_stripe("s", BODY, NOW - 301), stripe("hook")) == "401 301 seconds ago"
    assert secrets.asked == []


async def test_a_missing_secret_is_asked_for_once_in_a_while_and_the_request_is_answered_503() -> None:
    secrets = Secrets()
    for _ in range(100):
        assert (
            await secrets.outcome(by_github("x", BODY), github("hook")) == "503 the secret hook is not in the Key Vault"
        )
    assert secrets.asked == ["hook"]
    secrets.current["hook"] = "s"
    secrets.clock += AGAIN

    assert await secrets.outcome(by_github("s", BODY), github("hook")) == "in"


async def test_one_of_two_secrets_that_is_gone_does_not_stop_the_other() -> None:
    secrets = Secrets(new="n")

    assert await secrets.outcome(by_github("n", BODY)) == "in"
    assert await secrets.outcome(by_github("x", BODY)) == "503 the secret old is not in the Key Vault"


async def test_an_empty_secret_admits_nobody() -> None:
    secrets = Secrets(hook="")

    assert (await secrets.outcome(by_github("", BODY), github("hook"))).startswith("503 the secret hook is empty")


async def test_a_vault_that_fails_when_the_secret_is_read_again_is_a_503() -> None:
    secrets = Secrets(hook="s")
    assert await secrets.outcome(by_github("s", BODY), github("hook")) == "in"
    secrets.current["hook"] = SecretUnread("the vault is away", missing=False)

    assert await secrets.outcome(by_github("x", BODY), github("hook")) == "503 the vault is away"
    assert await secrets.outcome(by_github("s", BODY), github("hook")) == "in"


async def test_a_large_body_is_measured_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    async def to_thread(function: Callable[..., Any], *given: Any) -> Any:
        threads.append(function)
        return function(*given)

    monkeypatch.setattr("asyncio.to_thread", to_thread)
    secrets, body = Secrets(new="n", old="o"), b"x" * (LARGE + 1)

    assert await secrets.outcome(by_github("n", body), body=body) == "in"
    assert await secrets.outcome(by_github("n", BODY)) == "in"
    assert len(threads) == 1


def test_the_caller_is_anonymous_and_named_after_the_sender() -> None:
    caller = sender(stripe("hook"))

    assert (caller.kind, caller.name, caller.object_id) == ("anonymous", "stripe", "")
