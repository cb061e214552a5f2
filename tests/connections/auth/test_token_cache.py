"""Tokens: fetched once however many ask, kept until shortly before they expire, renewed once."""

import asyncio
from contextvars import ContextVar

import anyio
import pytest
from structlog.testing import capture_logs

from postern.connections.auth.token_cache import (
    EARLY_SECONDS,
    MOST_RENEWALS,
    RENEWAL_SECONDS,
    REPLACEMENTS,
    RIVAL_SECONDS,
    Token,
    Tokens,
)
from postern.connections.faults import ConnectionFault

pytestmark = pytest.mark.anyio


class Endpoint:
    """Gives token-1, token-2 …; waits for `open`, and fails while `down`."""

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds = seconds
        self.received = 0
        self.now = 1000.0
        self.down = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> Token:
        self.received += 1
        number = self.received
        await self.open.wait()
        if self.down:
            raise ConnectionFault("connections.x", "gets no token", "Try again later")
        return Token(f"token-{number}", self.seconds)

    def tokens(self) -> Tokens:
        return Tokens(self.fetch, clock=lambda: self.now)


async def gathered(tokens: Tokens, count: int) -> set[str]:
    return set(await asyncio.gather(*(tokens.token() for _ in range(count))))


async def test_fifty_cold_calls_make_one_request_and_warm_ones_none():
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    assert await gathered(tokens, 50) == {"token-1"}
    assert await gathered(tokens, 50) == {"token-1"}
    assert endpoint.received == 1


async def test_the_first_caller_may_be_cancelled_and_the_others_get_their_token():
    endpoint = Endpoint()
    endpoint.open.clear()
    tokens = endpoint.tokens()
    first, second = asyncio.create_task(tokens.token()), asyncio.create_task(tokens.token())
    await anyio.wait_all_tasks_blocked()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    endpoint.open.set()
    assert await second == "token-1"
    assert endpoint.received == 1


async def test_when_all_callers_are_cancelled_the_token_is_there_for_the_next():
    endpoint = Endpoint()
    endpoint.open.clear()
    tokens = endpoint.tokens()
    with anyio.move_on_after(0):
        await tokens.token()
    endpoint.open.set()
    assert await tokens.token() == "token-1"


@pytest.mark.parametrize(("seconds", "early"), [(3600, EARLY_SECONDS), (100, 20)])
async def test_a_token_is_fetched_anew_shortly_before_it_expires(seconds: float, early: float):
    endpoint = Endpoint(seconds)
    tokens = endpoint.tokens()
    await tokens.token()
    endpoint.now += seconds - early - 0.5
    assert await tokens.token() == "token-1"
    endpoint.now += 1
    assert await gathered(tokens, 5) == {"token-2"}


async def test_a_token_without_life_serves_those_who_waited_for_it():
    endpoint = Endpoint(0)
    tokens = endpoint.tokens()
    assert await gathered(tokens, 5) == {"token-1"}
    assert await tokens.token() == "token-2"


async def test_a_fault_is_raised_to_all_callers_and_the_next_call_tries_again():
    endpoint = Endpoint()
    endpoint.down = True
    tokens = endpoint.tokens()
    reported = await asyncio.gather(*(tokens.token() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, ConnectionFault) for each in reported)
    assert endpoint.received == 1
    endpoint.down = False
    assert await tokens.token() == "token-2"


async def test_each_caller_gets_a_fault_of_its_own():
    """What one run writes on it, such as a note or its traceback, is not in another run's record."""
    endpoint = Endpoint()
    endpoint.down = True
    tokens = endpoint.tokens()
    first, second = await asyncio.gather(tokens.token(), tokens.token(), return_exceptions=True)
    assert endpoint.received == 1
    assert isinstance(first, ConnectionFault)
    assert isinstance(second, ConnectionFault)
    first.add_note("the first caller's")
    assert (str(first), first is second, second.__context__) == (str(second), False, None)
    assert not hasattr(second, "__notes__")


async def test_a_token_request_runs_in_the_context_of_no_run():
    of_run = ContextVar("of a run", default="")
    seen = []

    async def fetch() -> Token:
        seen.append(of_run.get())
        return Token("token", 3600)

    of_run.set("lisa")
    await Tokens(fetch).token()
    assert seen == [""]


async def test_a_valid_token_serves_on_while_a_new_one_cannot_be_had():
    """It is requested again after a while, not at each call, and an expired one is not used."""
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    await tokens.token()
    endpoint.now += 3600 - EARLY_SECONDS + 1
    endpoint.down = True
    assert await gathered(tokens, 5) == {"token-1"}
    assert await tokens.token() == "token-1"
    assert endpoint.received == 2
    endpoint.now += RENEWAL_SECONDS + 1
    assert await tokens.token() == "token-1"
    assert endpoint.received == 3
    endpoint.now += EARLY_SECONDS
    with pytest.raises(ConnectionFault):
        await tokens.token()


async def test_many_who_were_rejected_at_once_renew_the_token_once():
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    await tokens.token()
    endpoint.now += RENEWAL_SECONDS
    renewed = await asyncio.gather(*(tokens.renewed("token-1") for _ in range(50)))
    assert set(renewed) == {"token-2"}
    assert endpoint.received == 2
    assert await tokens.renewed("token-1") == "token-2", "a late one gets what the others have got"
    assert endpoint.received == 2


async def test_who_rejects_for_ever_has_no_token_fetched_at_each_call():
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    await tokens.token()
    for received in (2, 3):
        for _ in range(10):
            await tokens.renewed(await tokens.token())
        assert endpoint.received == received
        endpoint.now += RENEWAL_SECONDS


async def test_a_token_that_is_rejected_although_it_is_young_is_renewed_once():
    endpoint = Endpoint()
    tokens = endpoint.tokens()
    assert await tokens.renewed(await tokens.token()) == "token-2"
    assert await tokens.renewed("token-2") is None


async def test_tokens_that_worked_before_are_renewed_some_times_in_a_while_and_no_more():
    """An API that accepts some requests and rejects others would cause a token request at each call."""
    endpoint = Endpoint()
    tokens = Tokens(endpoint.fetch, clock=lambda: endpoint.now, entry="connections.x")
    with capture_logs() as logs:
        for _ in range(50):
            token = await tokens.token()
            tokens.accepted(token)
            await tokens.renewed(token)
    assert endpoint.received == 1 + MOST_RENEWALS
    assert [(line["event"], line["entry"]) for line in logs] == [("token-contested", "connections.x")]
    assert "token-1" not in str(logs)


class OneLives:
    """A provider of tokens of which only the newest is valid, and the API that knows it."""

    def __init__(self) -> None:
        self.issued = 0

    async def fetch(self) -> Token:
        await asyncio.sleep(0)
        self.issued += 1
        return Token(f"token-{self.issued}", 3600)

    async def call(self, tokens: Tokens) -> bool:
        """One request as SignIn makes it: whether it was accepted."""
        token = await tokens.token()
        for _ in range(REPLACEMENTS + 1):
            if token == f"token-{self.issued}":
                tokens.accepted(token)
                return True
            other = await tokens.renewed(token)
            if other is None:
                return False
            token = other
        return False


async def test_two_processes_whose_provider_keeps_one_live_token_both_go_on():
    """Each has its token replaced by the other's. A rejected one is replaced at once, not after half a minute."""
    provider = OneLives()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    first, second = (Tokens(provider.fetch, clock=lambda: 0.0, sleep=sleep) for _ in range(2))
    for _ in range(MOST_RENEWALS // 2):
        assert await provider.call(first)
        assert await provider.call(second)
    assert provider.issued <= MOST_RENEWALS + 2


async def test_a_token_that_ended_before_its_first_use_is_replaced_after_a_wait_of_random_length():
    provider = OneLives()
    waits: list[tuple[float, float]] = []

    async def sleep(seconds: float) -> None: ...

    def uniform(low: float, high: float) -> float:
        waits.append((low, high))
        return high

    tokens = Tokens(provider.fetch, clock=lambda: 0.0, sleep=sleep, uniform=uniform)
    assert await provider.call(tokens)
    token = await tokens.token()
    found = []
    for _ in range(REPLACEMENTS + 1):
        provider.issued += 1  # by the other process
        found.append(token := await tokens.renewed(token) or token)
    assert len(set(found)) == REPLACEMENTS
    assert waits == [(0.0, RIVAL_SECONDS * 2**n) for n in range(1, REPLACEMENTS)]


async def test_a_renewal_that_gives_the_same_token_is_none():
    now = 0.0

    async def same() -> Token:
        return Token("same", 3600)

    tokens = Tokens(same, clock=lambda: now)
    await tokens.token()
    now = RENEWAL_SECONDS
    assert await tokens.renewed("same") is None


async def test_closing_gives_up_the_request_that_is_under_way():
    endpoint = Endpoint()
    endpoint.open.clear()
    tokens = endpoint.tokens()
    waiting = asyncio.create_task(tokens.token())
    await anyio.wait_all_tasks_blocked()
    await tokens.aclose()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await tokens.aclose()


async def test_no_repr_has_a_token():
    assert "eyJ" not in repr(Token("eyJ", 1))
