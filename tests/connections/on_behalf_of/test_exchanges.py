"""One exchange for each caller's token, and its result for that token alone."""

import asyncio
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postern.connections.auth.token_cache import RENEWAL_SECONDS, Token
from postern.connections.faults import ConnectionFault
from postern.connections.on_behalf_of.caller_token import CallerToken, digest_of, ends_at, forget, value_of
from postern.connections.on_behalf_of.exchanges import Exchanges
from tests.connections.conftest import Hand

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NOW = 1_000_000.0


def token(who: str, expires: Any = NOW + 3600) -> str:
    payload = urlsafe_b64encode(json.dumps({"who": who, "exp": expires}).encode()).decode().rstrip("=")
    return f"e30.{payload}.sig"


@dataclass
class Entra:
    """Exchanges tokens when the test says so. Each result says for which token it is."""

    hand: Hand = field(default_factory=Hand)
    seconds: float = 3600.0
    asked: list[str] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    holds: bool = False
    fault: ConnectionFault | None = None

    async def __call__(self, assertion: str) -> Token:
        self.asked.append(assertion)
        number = len(self.asked)
        if self.holds:
            self.waiting.append(asyncio.get_running_loop().create_future())
            await self.waiting[-1]
        if self.fault is not None:
            raise self.fault
        return Token(f"{sha256(assertion.encode()).hexdigest()}/{number}", self.seconds)

    def exchanges(self, **more: Any) -> Exchanges:
        began = self.hand.now
        return Exchanges("connections.me", self, clock=self.hand, now=lambda: NOW + self.hand.now - began, **more)


def is_for(result: str, assertion: str) -> bool:
    return result.startswith(sha256(assertion.encode()).hexdigest())


async def test_a_token_is_remembered_for_the_same_token():
    entra = Entra()
    exchanges = entra.exchanges()
    first = await exchanges.token(CallerToken(token("lisa")))
    assert await exchanges.token(CallerToken(token("lisa"))) == first
    assert len(entra.asked) == 1
    await exchanges.aclose()
    assert exchanges.remembered == 0


@pytest.mark.parametrize(
    ("lives", "caller_lives", "until"),
    [
        (3600.0, 7200.0, 3540.0),  # a minute before it expires
        (100.0, 7200.0, 80.0),  # or after four fifths
        (3600.0, 600.0, 600.0),  # never longer than the caller's token
        (3600.0, 0.0, 0.0),
        (3600.0, -30.0, 0.0),  # within the leeway for clocks
    ],
)
async def test_it_is_remembered_no_longer_than_both_are_valid(lives: float, caller_lives: float, until: float):
    entra = Entra(seconds=lives)
    exchanges, caller = entra.exchanges(), CallerToken(token("lisa", NOW + caller_lives))
    await exchanges.token(caller)
    assert exchanges.remembered == (until > 0)
    entra.hand.now += max(until - 0.01, 0.0)
    await exchanges.token(caller)
    assert len(entra.asked) == (1 if until else 2)
    entra.hand.now += min(until, 0.01)
    await exchanges.token(caller)
    assert len(entra.asked) == (2 if until else 3)
    await exchanges.aclose()


async def test_what_has_expired_is_dropped_by_itself():
    entra = Entra(seconds=0.05)
    exchanges = entra.exchanges()
    await exchanges.token(CallerToken(token("lisa")))
    assert exchanges.remembered == 1
    async with asyncio.timeout(10):
        while exchanges.remembered:
            await asyncio.sleep(0.01)


async def test_it_is_bounded():
    entra = Entra()
    exchanges = entra.exchanges(most=3)
    for number in range(10):
        await exchanges.token(CallerToken(token(f"person {number}")))
    assert exchanges.remembered == 3
    await exchanges.token(CallerToken(token("person 9")))
    assert len(entra.asked) == 10
    await exchanges.token(CallerToken(token("person 0")))
    assert len(entra.asked) == 11
    await exchanges.aclose()


async def test_a_rejected_token_is_exchanged_anew_once_in_a_while():
    entra = Entra()
    exchanges, caller = entra.exchanges(), CallerToken(token("lisa"))
    first = await exchanges.token(caller)
    second = await exchanges.renewed(caller, first)
    assert second not in (None, first)
    assert await exchanges.renewed(caller, first) == second  # another request that had the first one
    assert await exchanges.renewed(caller, second or "") is None
    assert len(entra.asked) == 2
    entra.hand.now += RENEWAL_SECONDS + 1
    assert await exchanges.renewed(caller, second or "") not in (None, second)
    await exchanges.aclose()


async def test_an_error_is_every_waiter_s_own_and_is_not_remembered():
    entra = Entra(holds=True, fault=ConnectionFault("connections.me", "is broken", "Mend it"))
    exchanges = entra.exchanges()
    tasks = [asyncio.ensure_future(exchanges.token(CallerToken(token("lisa")))) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    entra.waiting[0].set_result(None)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in found] == ["connections.me is broken. Mend it."] * 3
    assert len({id(each) for each in found}) == 3
    assert len(entra.asked) == 1
    entra.holds, entra.fault = False, None
    assert is_for(await exchanges.token(CallerToken(token("lisa"))), token("lisa"))
    await exchanges.aclose()


async def test_a_run_that_goes_away_does_not_end_the_exchange_of_another():
    """Whichever of them began it: its token is forgotten with its run."""
    entra = Entra(holds=True)
    exchanges = entra.exchanges()
    first, second = CallerToken(token("lisa")), CallerToken(token("lisa"))
    gone = asyncio.ensure_future(exchanges.token(first))
    stays = asyncio.ensure_future(exchanges.token(second))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.cancel()
    forget(first)
    entra.waiting[0].set_result(None)
    assert is_for(await stays, token("lisa"))
    assert (await asyncio.gather(gone, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    await exchanges.aclose()


async def test_closing_ends_what_is_in_progress():
    entra = Entra(holds=True)
    exchanges = entra.exchanges()
    waits = asyncio.ensure_future(exchanges.token(CallerToken(token("lisa"))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await exchanges.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waits


PEOPLE = ("lisa", "lisa again", "ada")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("reject"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("answer"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.sampled_from([1, 31, 3000])),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_nobody_ever_gets_the_token_of_another(steps: list[tuple[str, Any]]):
    """Whatever the order in which callers ask, go away, are answered and have their tokens rejected."""

    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, Any]]) -> None:
    entra = Entra(holds=True)
    exchanges = entra.exchanges()
    asks: list[tuple[str, asyncio.Task[str | None]]] = []
    for what, value in steps:
        if what == "wait":
            entra.hand.now += value
        elif what == "answer":
            _answer(entra.waiting, value)
        elif what == "cancel" and asks:
            asks[value % len(asks)][1].cancel()
        elif what == "ask":
            asks.append((value, asyncio.ensure_future(exchanges.token(CallerToken(token(value))))))
        elif what == "reject":
            last = [task.result() or "" for who, task in asks if who == value and _is_good(task)]
            refused = exchanges.renewed(CallerToken(token(value)), last[-1] if last else "")
            asks.append((value, asyncio.ensure_future(refused)))
        for _ in range(4):
            await asyncio.sleep(0)
    entra.holds = False
    for number in range(len(entra.waiting)):
        _answer(entra.waiting, number)
    await _check(asks)
    await exchanges.aclose()


async def _check(asks: list[tuple[str, "asyncio.Task[str | None]"]]) -> None:
    results = await asyncio.gather(*(task for _, task in asks), return_exceptions=True)
    for (who, _), result in zip(asks, results, strict=True):
        if isinstance(result, str):
            assert is_for(result, token(who)), f"{who} got the token of another"
        else:
            assert result is None or isinstance(result, asyncio.CancelledError)


def _answer(waiting: list[asyncio.Future[None]], number: int) -> None:
    if waiting and not (answered := waiting[number % len(waiting)]).done():
        answered.set_result(None)


def _is_good(task: "asyncio.Task[str | None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


@given(st.text())
def test_when_a_token_ends_is_read_of_anything(text: str):
    assert ends_at(CallerToken(text)) == 0.0 or text.count(".")


@pytest.mark.parametrize(
    ("expires", "read"), [(NOW, NOW), (NOW + 0.5, NOW + 0.5), ("1", 0.0), (True, 0.0), (None, 0.0), ([], 0.0)]
)
def test_when_a_token_ends(expires: Any, read: float):
    assert ends_at(CallerToken(token("lisa", expires))) == read


def test_a_caller_s_token_shows_nothing_and_goes_nowhere():
    import copy
    import pickle

    caller = CallerToken("marker")
    assert [name for name in dir(caller) if not name.startswith("_")] == []
    assert "marker" not in f"{caller!r} {caller!s}"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="stays where it is"):
            way(caller)
    assert value_of(caller) == "marker"
    assert digest_of(caller) == sha256(b"marker").digest()
    forget(caller)
    assert (value_of(caller), digest_of(caller)) == ("", b"")


async def test_a_run_that_ends_before_its_exchange_begins_takes_no_token_from_another_run_of_the_same_caller():
    entra = Entra()
    exchanges = entra.exchanges()
    one, other = CallerToken(token("lisa")), CallerToken(token("lisa"))
    first = asyncio.create_task(exchanges.token(one))
    asyncio.get_running_loop().call_soon(forget, one)  # after the run has asked, and before the exchange begins
    second = asyncio.create_task(exchanges.token(other))
    assert is_for(await second, token("lisa"))
    assert entra.asked == [token("lisa")]
    await first
    await exchanges.aclose()


async def test_what_is_forgotten_is_exchanged_anew():
    entra = Entra()
    exchanges = entra.exchanges()
    before = await exchanges.token(CallerToken(token("lisa")))
    exchanges.forget()
    assert exchanges.remembered == 0
    assert await exchanges.token(CallerToken(token("lisa"))) != before


async def test_what_an_exchange_in_progress_comes_to_is_not_remembered_if_all_is_forgotten_meanwhile():
    entra = Entra(holds=True)
    exchanges = entra.exchanges()
    waits = asyncio.create_task(exchanges.token(CallerToken(token("lisa"))))
    while not entra.waiting:
        await asyncio.sleep(0)
    exchanges.forget()
    entra.waiting[0].set_result(None)
    assert is_for(await waits, token("lisa"))
    assert exchanges.remembered == 0
