"""Requests are counted against rates: who is refused when, and what the response says."""

from hypothesis import given
from hypothesis import strategies as st

from postern.security.limits.addresses import client_of
from postern.security.limits.limiter import Limiter
from postern.settings.security import Limit, Limits, Rate

SECOND = 1_000_000_000
NONE = Limits()


class Clock:
    """Nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


def limiter(clock: Clock, rate: str = "3/second", most: int = 1000, **workflows: str) -> Limiter:
    limits = Limits(per_caller=rate, workflows={name: Limit(per_caller=each) for name, each in workflows.items()})
    return Limiter(limits, "caller", now=clock, most=most)


def let_in(limits: Limiter, times: int, who: str = "ada", workflow: str = "hello") -> int:
    """How many of so many requests are let in."""
    return sum(taken is None or taken.exceeded is None for taken in (limits.take(workflow, who) for _ in range(times)))


def test_without_a_rate_nothing_is_counted():
    for of in ("caller", "address"):
        limits = Limiter(NONE, of, now=Clock())
        assert not limits.limits_anything
        assert limits.take("hello", "ada") is None
        assert limits.remembered == 0


def test_a_client_may_send_its_whole_rate_at_once_and_gets_it_back_evenly():
    clock = Clock()
    limits = limiter(clock, "60/minute")
    assert let_in(limits, 100) == 60
    clock.move(0.99)
    assert let_in(limits, 1) == 0
    clock.move(0.01)
    assert let_in(limits, 2) == 1
    clock.move(3600)
    assert let_in(limits, 100) == 60


def test_one_client_takes_nothing_from_another():
    limits = limiter(Clock())
    assert let_in(limits, 1000, "flooder") == 3
    assert let_in(limits, 3, "ada") == 3


def test_a_refused_request_counts_nowhere():
    clock = Clock()
    limits = limiter(clock)
    let_in(limits, 1000)
    clock.move(1)
    assert let_in(limits, 3) == 3


def test_the_rate_of_a_workflow_is_beside_that_of_all():
    limits = limiter(Clock(), "5/second", pay="2/second")
    assert let_in(limits, 9, workflow="pay") == 2
    assert let_in(limits, 9, workflow="hello") == 3


def test_a_rate_of_one_workflow_is_no_other_workflows():
    limits = Limiter(Limits(workflows={"pay": Limit(per_address=Rate(1, 60))}), "address", now=Clock())
    assert limits.limits_anything
    assert limits.take("hello", "192.0.2.1") is None
    assert let_in(limits, 9, workflow="pay") == 1
    assert not Limiter(Limits(workflows={"pay": Limit(per_address=Rate(1, 60))}), "caller").limits_anything


def test_the_fields_name_the_rate_and_what_is_left():
    clock = Clock()
    limits = limiter(clock, "3/minute", pay="600/hour")
    first = limits.take("pay", "ada")
    assert first is not None
    assert first.headers[0] == (b"ratelimit-policy", b'"caller";q=3;w=60, "workflow-caller";q=600;w=3600')
    assert first.headers[1][1] == b'"caller";r=2;t=20, "workflow-caller";r=599;t=6'
    let_in(limits, 2, workflow="pay")
    clock.move(5.5)
    refused = limits.take("pay", "ada")
    assert refused is not None
    assert refused.exceeded is not None
    assert (refused.exceeded.place, refused.exceeded.text) == ("per_caller of [limits]", "3/minute")
    assert refused.retry_after == 15
    assert refused.headers[1][1].startswith(b'"caller";r=0;t=15, "workflow-caller";r=597')


def test_what_is_said_of_quick_rates_is_right_also_when_it_was_said_before():
    clock = Clock()
    limits = limiter(clock, "3/second")

    def said() -> bytes:
        taken = limits.take("hello", "ada")
        assert taken is not None
        return taken.headers[1][1]

    assert [said() for _ in range(4)] == [b'"caller";r=%d;t=1' % left for left in (2, 1, 0, 0)]
    clock.move(1)
    assert [said() for _ in range(4)] == [b'"caller";r=%d;t=1' % left for left in (2, 1, 0, 0)]
    clock.move(0.5)
    assert said() == b'"caller";r=0;t=1'


def test_a_count_can_be_given_back():
    limits = limiter(Clock(), pay="2/second")
    for _ in range(50):
        assert let_in(limits, 1, workflow="pay") == 1
        limits.give_back("pay", "ada")
    limits.give_back("pay", "stranger")
    assert let_in(limits, 9, workflow="pay") == 2


def test_a_flood_of_clients_is_bounded_in_memory_and_shuts_nobody_out():
    limits = limiter(Clock(), most=100)
    for number in range(10_000):
        assert let_in(limits, 1, f"client {number}") == 1
    assert 90 <= limits.remembered <= 100
    assert let_in(limits, 9, "ada") == 3


def test_clients_that_have_their_whole_rate_again_are_forgotten_first():
    clock = Clock()
    limits = limiter(clock, most=100)
    for number in range(100):
        let_in(limits, 1, f"early {number}")
    clock.move(1)
    let_in(limits, 3, "ada")
    assert limits.remembered == 1
    assert let_in(limits, 1, "ada") == 0


def test_a_client_that_goes_on_sending_is_not_forgotten():
    limits = limiter(Clock(), most=100)
    let_in(limits, 3, "flooder")
    for number in range(1000):
        assert let_in(limits, 1, "flooder") == 0
        assert let_in(limits, 1, f"client {number}") == 1


@given(
    requests=st.integers(1, 50),
    seconds=st.sampled_from([1, 60, 3600]),
    gaps=st.lists(st.integers(0, 200 * SECOND), max_size=200),
)
def test_never_more_than_twice_the_rate_in_its_time_and_retry_after_is_long_enough(
    requests: int, seconds: int, gaps: list[int]
):
    """A full rate at once, and what comes back while its time passes."""
    clock = Clock()
    limits = Limiter(Limits(per_caller=Rate(requests, seconds)), "caller", now=clock)
    admitted: list[int] = []
    for gap in gaps:
        clock.now += gap
        taken = limits.take("hello", "ada")
        assert taken is not None
        if taken.exceeded is None:
            admitted.append(clock.now)
        else:
            assert 1 <= taken.retry_after <= seconds
            later = Clock()
            later.now = clock.now + taken.retry_after * SECOND
            clock.now = later.now
            assert let_in(limits, 1) == 1
            admitted.append(clock.now)
    for start in admitted:
        assert sum(start <= at < start + seconds * SECOND for at in admitted) <= 2 * requests


def test_what_counts_as_one_client():
    table = {
        "192.0.2.1": "192.0.2.1",
        "::ffff:192.0.2.1": "192.0.2.1",
        "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
        "2001:db8:1:2::9": "2001:db8:1:2::/64",
        "2001:db8:1:3::9": "2001:db8:1:3::/64",
        "fe80::1%eth0": "fe80::/64",
        "": "",
        "x" * 1000: "x" * 46,
    }
    assert {address: client_of(address) for address in table} == table


LONGEST_ADDRESS = "2001:0db8:0001:0002:0003:0004:192.168.111.222"


@given(st.one_of(st.text(max_size=200), st.ip_addresses().map(str), st.text().map(LONGEST_ADDRESS.__add__)))
def test_any_text_counts_as_some_client_of_bounded_length_whose_name_is_its_own(text: str):
    """A request from an address that is the name of a client is one of that client."""
    name = client_of(text)
    assert len(name) <= 46
    assert client_of(name) == name
