"""The examples of AUTHORS.md do what the page says of them."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Request, Response

import postern.durable
from postern import Context, Retry, Workflow, workflow
from postern.journal.approvals import Verdict
from postern.journal.signals import Arrival
from tests.databases import put_sqlite
from tests.durable.author_host import ADA, LISA, AuthorHost

pytestmark = [pytest.mark.anyio, pytest.mark.process]

FOLDER = Path(postern.durable.__file__).with_name("examples")
ROOT = FOLDER.parents[3]


def module(path: Path) -> Any:
    """The module of a file, new each time."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def example(name: str) -> Workflow:
    """The only workflow of an example."""
    (found,) = [each for each in vars(module(FOLDER / f"{name}.py")).values() if isinstance(each, Workflow)]
    return found


@pytest.fixture(scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AuthorHost]:
    """One server process for all examples."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # the writer imports nothing from there
        made = AuthorHost(put_sqlite(folder / "postern.db"))
        await made.open()
        yield made
        await made.close()


async def begin(host: AuthorHost, name: str, body: Any) -> str:
    """The id of a run of an example that was accepted."""
    its = example(name)
    host.serve(its)
    return await host.accept(its, json.dumps(body).encode())


async def result(host: AuthorHost, run_id: str) -> Any:
    """The result of a run that succeeds."""
    row = await host.outcome(run_id)
    assert row.state == "Succeeded", (row.error_type, row.error_message)
    return json.loads(row.outputs)


class OtherSystem:
    """A system that does what it is asked twice, and whose first reply never comes: its caller has died. `reply` makes
    the replies."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.made: dict[str, str] = {}
        self.asked = asyncio.Event()

    def pay(self, request: Request) -> Response:
        """A payment for each idempotency key."""
        self.requests.append(request)
        key = request.headers["idempotency-key"]
        return Response(201, json={"id": self.made.setdefault(key, f"payment {len(self.made) + 1}")})

    def tickets(self, request: Request) -> Response:
        """A ticket for each POST."""
        self.requests.append(request)
        if request.method == "POST":
            sent = json.loads(request.content)
            self.made[f"ticket {len(self.made) + 1}"] = sent["reference"]
            return Response(201, json={"id": list(self.made)[-1]})
        wanted = request.url.params["reference"]
        return Response(200, json=[{"id": name} for name, reference in self.made.items() if reference == wanted])


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("pay_invoice", {"number": "7", "amount": "12.50"}, {"payment": "payment 1"}),
        ("open_ticket", "It leaks.", {"ticket": "ticket 1"}),
    ],
)
async def test_a_step_that_runs_twice_makes_one_thing(host: AuthorHost, name: str, body: Any, expected: Any):
    """The server process dies after the other system has done its part, and before the step has ended."""
    system = OtherSystem()
    reply = {"pay_invoice": system.pay, "open_ticket": system.tickets}[name]
    dead = asyncio.Event()

    async def no_reply(request: Request) -> Response:
        made = reply(request)
        if request.method == "POST":
            dead.set()
            await asyncio.Event().wait()
        return made

    host.answer = no_reply
    run_id = await begin(host, name, body)
    await asyncio.wait_for(dead.wait(), 20)
    await host.crash()
    host.answer = reply
    await host.take_over()
    assert await result(host, run_id) == expected
    assert len(system.made) == 1


async def test_what_was_drawn_in_a_step_is_the_same_after_the_wait(host: AuthorHost):
    names = [f"name {number}" for number in range(1000)]
    run_id = await begin(host, "draw_winner", names)
    await host.let_pass(run_id, 1)
    drawn = await result(host, run_id)
    assert drawn["winner"] in names
    assert drawn["drawn_at"].endswith("+00:00")
    assert await host.steps(run_id) == ["draw", "now"]


async def test_a_run_waits_for_a_signal_and_reminds_each_week(host: AuthorHost):
    run_id = await begin(host, "await_delivery", "order 5")
    await host.let_pass(run_id, 7)
    assert (await host.let_go(run_id)).waits_for == "delivered"
    assert await host.send(run_id, '{"received_by": "the porter"}', "delivered") is Arrival.ARRIVED
    assert await result(host, run_id) == {"order": "order 5", "received_by": "the porter"}


async def test_a_run_whose_signal_never_comes_ends_by_itself(host: AuthorHost):
    run_id = await begin(host, "await_delivery", "order 5")
    for _ in range(4):
        await host.let_pass(run_id, 7)
    row = await host.outcome(run_id)
    assert (row.state, row.status) == ("Failed", 504)


@pytest.mark.parametrize(
    ("city", "steps", "state"),
    [("Bergen", ["book_hotel", "book_flight"], 200), ("Atlantis", ["book_hotel", "book_flight", "cancel_hotel"], 409)],
)
async def test_what_was_done_is_undone_when_a_later_step_fails(host: AuthorHost, city: str, steps: Any, state: int):
    run_id = await begin(host, "book_trip", city)
    row = await host.outcome(run_id)
    assert row.status == state
    assert await host.steps(run_id) == steps


async def test_a_step_at_the_end_is_taken_up_by_runs_that_sleep(host: AuthorHost):
    run_id = await begin(host, "ship_order", "order 6")
    await host.let_go(run_id)
    host.serve(example("ship_order_and_tell"), digest="2")
    await host.let_pass(run_id, 14)
    assert await result(host, run_id) == "parcel of order 6, shipped"
    assert await host.steps(run_id) == ["pack", "ship", "tell"]


async def test_a_changed_workflow_of_a_new_name_lets_the_old_runs_end(host: AuthorHost):
    run_id = await begin(host, "ship_order", "order 6")
    await host.let_go(run_id)
    changed = example("ship_order_checked")
    host.serve(example("ship_order"), changed, digest="2")
    another = await host.accept(changed, b'"order 7"')
    await host.let_go(another)
    await host.let_pass(run_id, 14)
    assert await result(host, run_id) == "parcel of order 6, shipped"
    assert await result(host, another) == "parcel of order 7, shipped"


async def test_a_step_in_front_of_the_others_parks_the_runs_that_sleep(host: AuthorHost):
    """As if the checked version had kept the name."""
    run_id = await begin(host, "ship_order", "order 6")
    await host.let_go(run_id)
    checked = example("ship_order_checked")
    host.serve(_named(checked, "ship-order"), digest="2")
    await host.let_pass(run_id, 14)
    row = await host.phase(run_id, "parked")
    assert row.reason == "workflow-changed"


async def test_calls_are_steps(host: AuthorHost):
    called: list[str] = []

    async def call(ctx: Any, outgoing: Any) -> Any:
        called.append(outgoing.trigger)
        return {"create-account": {"id": "a-1"}, "issue-badge": {"badge": "V-007"}}[outgoing.trigger]

    host.calls = call
    run_id = await begin(host, "onboard", "Ines")
    await host.let_pass(run_id, 7)
    assert await result(host, run_id) == {"account": "a-1", "badge": "V-007"}
    assert called == ["create-account", "issue-badge"]


async def test_a_def_workflow_is_one_step(host: AuthorHost):
    run_id = await begin(host, "count_words", "to be or not to be")
    assert await result(host, run_id) == {"to": 2, "be": 2, "or": 1, "not": 1}


async def test_an_order_waits_for_lisa_and_for_the_laptop(host: AuthorHost):
    order = order_laptop()
    host.serve(order)
    run_id = await host.accept(order, b'{"model": "X"}', caller=ADA)
    assert await host.approve(run_id, "manager") is Verdict.STANDS
    await host.send(run_id, "null", "arrived")
    assert await result(host, run_id) == {"state": "arrived", "order": f"X {run_id}"}


async def test_lisa_does_not_approve_her_own_order(host: AuthorHost):
    order = order_laptop()
    host.serve(order)
    run_id = await host.accept(order, b'{"model": "X"}', caller=LISA)
    assert (await host.asked(run_id, "manager")).barred == {LISA.object_id}
    await host.let_pass(run_id, 30)
    assert await result(host, run_id) == {"state": "timed-out", "comment": ""}


@pytest.mark.parametrize(("approves", "state"), [(True, "booking of van, handed over"), (False, "timed-out")])
async def test_a_car_is_handed_over_on_the_day_if_lisa_approves(host: AuthorHost, approves: bool, state: str):
    """The durable example of the page "Write a workflow"."""
    rent: Workflow = module(FOLDER.parents[1] / "authoring" / "first_steps" / "rent_car.py").rent_car
    host.serve(rent)
    run_id = await host.accept(rent, b'{"car": "van", "days_until": 20}', caller=ADA)
    if approves:
        assert await host.approve(run_id, "fleet") is Verdict.STANDS
        await host.let_pass(run_id, 20)
        assert await result(host, run_id) == {"state": state}
        assert await host.steps(run_id) == ["book", "hand_over"]
    else:
        await host.let_pass(run_id, 3)
        assert await result(host, run_id) == {"state": state}


async def test_finally_runs_at_each_wait_and_except_exception_does_not(host: AuthorHost):
    """As the page says of code between steps."""
    seen: list[str] = []

    @workflow(durable=True)
    async def waits(ctx: Context) -> None:
        try:
            await ctx.sleep("1d")
        except Exception:
            seen.append("except")
        finally:
            seen.append("finally")

    host.serve(waits)
    run_id = await host.accept(waits)
    await host.let_pass(run_id, 1)
    await result(host, run_id)
    assert seen == ["finally", "finally"]


async def test_neither_a_step_nor_a_def_workflow_waits_for_signals(host: AuthorHost):
    @workflow(durable=True)
    def waits_in_a_thread(ctx: Context) -> None:
        asyncio.run(ctx.wait_for("x"))

    @workflow(durable=True)
    async def waits_in_a_step(ctx: Context) -> None:
        await ctx.step(ctx.wait_for, "x", retry=Retry.none())

    host.serve(waits_in_a_thread, waits_in_a_step)
    for each in (waits_in_a_thread, waits_in_a_step):
        row = await host.outcome(await host.accept(each))
        assert (row.state, row.error_type) == ("Failed", "RuntimeError")


def order_laptop() -> Workflow:
    """The example that `make run` serves."""
    found: Workflow = module(ROOT / "workflows" / "order_laptop.py").order_laptop
    return found


def test_each_example_is_run_here():
    text = Path(__file__).read_text("utf-8")
    assert [path.stem for path in FOLDER.glob("*.py") if f'"{path.stem}"' not in text] == []


def _named(workflow: Workflow, name: str) -> Workflow:
    return Workflow(**{field: getattr(workflow, field) for field in Workflow.__slots__} | {"name": name})
