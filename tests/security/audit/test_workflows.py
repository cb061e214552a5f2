"""What the audit log says of the workflows that a server serves."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from postern.access import Access, anonymous, bind, specific_users, tenant_users
from postern.access.sender import SenderSignature
from postern.catalog import EMPTY, Catalog
from postern.errors import problem
from postern.journal.audit_event import FIELDS, Kind
from postern.journal.reading.audit import LastStart
from postern.security.audit.log import AuditLog
from postern.security.audit.served import ServedWorkflows
from postern.security.audit.workflows import Served, access_facts, changes, served, served_then

pytestmark = pytest.mark.usefixtures("own_modules")

TENANT, ADA, LISA = (f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "123")
HERE: dict[str, Any] = {"people": {"lisa": LISA, "ada": ADA}, "tenants": [TENANT], "audiences": ["api://p"]}
GUARDED = {"tenants": [TENANT], "audiences": ["api://p"]}
HEAD = "from postern import Context, anonymous, tenant_users, workflow\n"
RUN = "async def {name}(ctx: Context) -> str:\n    return 'x'\n"


def facts(access: Access) -> dict[str, Any]:
    return access_facts(access, bind(access, **HERE))


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (anonymous(), {"mode": "anonymous"}),
        (anonymous(signed=True), {"mode": "anonymous", "signed": True}),
        (tenant_users(), {"mode": "tenant_users", **GUARDED}),
        (
            tenant_users(guests=False, roles=["b", "a"]),
            {**GUARDED, "mode": "tenant_users", "guests": False, "roles": ["a", "b"]},
        ),
        (tenant_users(audiences=["api://q"]), {"mode": "tenant_users", "tenants": [TENANT], "audiences": ["api://q"]}),
        (specific_users("lisa", "ada"), {"mode": "specific_users", **GUARDED, "people": [ADA, LISA]}),
    ],
)
def test_access_is_described_by_what_it_means_here(access, expected):
    assert facts(access) == expected


def test_access_names_the_secret_of_a_sender_and_not_its_value():
    found = facts(anonymous(signed_by=SenderSignature("github", ("hook",), "x-hub-signature-256")))
    assert found["signed_by"]["secrets"] == ["hook"]


def test_the_same_list_in_another_order_is_the_same_access():
    assert facts(specific_users("lisa", "ada")) == facts(specific_users("ada", LISA))


def test_networks_are_part_of_who_may_call():
    assert access_facts(anonymous(), bind(anonymous(), **HERE), ["10.1.0.0/16", "10.0.0.0/16"]) == {
        "mode": "anonymous",
        "networks": ["10.0.0.0/16", "10.1.0.0/16"],
    }


ONE = Served("a.py", "1", "h", {"mode": "anonymous"})


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        (None, ONE, [Kind.WORKFLOW_ADDED]),
        (ONE, None, [Kind.WORKFLOW_REMOVED]),
        (ONE, ONE, []),
        (ONE, ONE._replace(sha256="2"), [Kind.WORKFLOW_CHANGED]),
        (ONE, ONE._replace(helpers_sha256="2"), [Kind.WORKFLOW_CHANGED]),
        (ONE, ONE._replace(access={"mode": "tenant_users"}), [Kind.ACCESS_CHANGED]),
        (
            ONE,
            ONE._replace(sha256="2", access={"mode": "tenant_users"}),
            [Kind.WORKFLOW_CHANGED, Kind.ACCESS_CHANGED],
        ),
    ],
)
def test_a_change_is_an_event_of_its_kind_with_its_fields(before, now, kinds):
    found = list(changes({"a": before} if before else {}, {"a": now} if now else {}))
    assert [change.kind for change in found] == kinds
    for change in found:
        assert {"workflow", *change.fields} == set(FIELDS[change.kind])


def test_what_was_served_is_found_again_from_the_events():
    start = {"workflows": {"a": {**ONE.code, "access": ONE.access}, "b": {**ONE.code, "access": ONE.access}}}
    changed = ONE._replace(sha256="2")
    guarded = changed._replace(access={"mode": "tenant_users"})
    later: list[Any] = [
        ("workflow-changed", "a", changed.code),
        ("access-changed", "a", {**guarded.code, "before": ONE.access, "after": guarded.access}),
        ("workflow-removed", "b", ONE.code),
        ("workflow-added", "c", {**ONE.code, "access": ONE.access}),
    ]
    assert served_then(start, later[:1])["a"] == changed
    assert served_then(start, later) == {"a": guarded, "c": ONE}


class World:
    """A folder of workflows with what is noted about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = AuditLog()
        self.last: list[LastStart | None] = [None]
        self.audit = ServedWorkflows(path, self.log.note, self.read_last)
        self.catalog = Catalog(path, lambda access: bind(access, **HERE), on_change=self.audit.changed)

    async def read_last(self) -> LastStart | None:
        return self.last[-1]

    def write(self, name: str, access: str = "anonymous()", more: str = "", of: str = "", options: str = "") -> None:
        of = of or name
        text = f"{HEAD}{more}\n@workflow(access={access}, name='{of}'{options})\n{RUN.format(name=of)}"
        (self.path / f"{name}.py").write_text(text)
        self.catalog.load()

    def noted(self) -> list[tuple[str, str]]:
        return [(event.kind, event.workflow) for event in self.log.take()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_start_lists_what_is_served_and_nothing_before_it_is_an_event(world: World):
    world.write("hello")
    assert world.noted() == []
    world.audit.begin("1.0", {"port": 8080}, world.catalog.snapshot)
    [event] = world.log.take()
    assert set(event.fields) == set(FIELDS[Kind.SERVER_STARTED])
    content = (world.path / "hello.py").read_bytes()
    assert event.fields["workflows"] == {
        "hello": {
            "file": "hello.py",
            "sha256": hashlib.sha256(content).hexdigest(),
            "helpers_sha256": hashlib.sha256(b"").hexdigest(),
            "access": {"mode": "anonymous"},
        }
    }


def test_changes_while_the_server_runs_are_events(world: World):
    world.write("hello")
    world.audit.begin("1.0", {}, world.catalog.snapshot)
    world.noted()
    world.write("bye")
    assert world.noted() == [("workflow-added", "bye")]
    world.write("hello", more="# changed")
    assert world.noted() == [("workflow-changed", "hello")]
    world.write("hello", "tenant_users()", more="# changed")
    assert world.noted() == [("workflow-changed", "hello"), ("access-changed", "hello")]
    world.write("hello", "tenant_users()", more="# changed", options=", networks=['10.0.0.0/8']")
    assert world.noted() == [("workflow-changed", "hello"), ("access-changed", "hello")]
    (world.path / "bye.py").unlink()
    world.catalog.load()
    assert world.noted() == [("workflow-removed", "bye")]


def test_a_helper_module_is_part_of_the_hash_that_the_page_describes(world: World):
    world.write("hello")
    world.audit.begin("1.0", {}, world.catalog.snapshot)
    world.noted()
    (world.path / "_help.py").write_text("X = 1\n")
    (world.path / "orders").mkdir()
    (world.path / "orders" / "_rows.py").write_text("Y = 2\n")
    world.catalog.load()
    [event] = world.log.take()
    assert event.kind == Kind.WORKFLOW_CHANGED
    lines = "".join(
        f"{hashlib.sha256((world.path / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("_help.py", "orders/_rows.py")
    )
    assert event.fields["helpers_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_a_faulty_file_is_an_event_without_the_text_of_its_fault(world: World):
    world.write("hello")
    world.audit.begin("1.0", {}, world.catalog.snapshot)
    world.noted()
    (world.path / "hello.py").write_text("raise ValueError('hunter2')\n")
    world.catalog.load()
    [event] = world.log.take()
    assert (event.kind, set(event.fields)) == (Kind.FILE_FAULTY, set(FIELDS[Kind.FILE_FAULTY]))
    assert event.fields == {"file": "hello.py", "line": 1, "still_serving": ["hello"]}
    world.audit.changed(world.catalog.snapshot, world.catalog.snapshot)
    assert world.noted() == []


@pytest.mark.anyio
async def test_a_change_between_two_starts_is_an_event_of_the_second(world: World):
    world.write("hello")
    world.write("bye")
    then = served(world.catalog.snapshot.triggers, world.path)
    recorded = {name: {**each.code, "access": each.access} for name, each in then.items()}
    world.write("hello", "tenant_users()")
    (world.path / "bye.py").unlink()
    world.catalog.load()
    world.audit.begin("1.0", {}, world.catalog.snapshot)
    world.last = [LastStart({"workflows": recorded}, ())]
    await world.audit.run()
    assert world.noted()[1:] == [
        ("workflow-changed", "hello"),
        ("access-changed", "hello"),
        ("workflow-removed", "bye"),
    ]


@pytest.mark.anyio
async def test_the_first_server_of_a_database_compares_with_nothing_and_waits_for_the_journal(world: World):
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    async def read_last() -> LastStart | None:
        if len(naps) < 2:
            raise problem("journal-unavailable")
        return None

    audit = ServedWorkflows(world.path, world.log.note, read_last, sleep=sleep)
    audit.begin("1.0", {}, EMPTY)
    await audit.run()
    assert len(naps) == 2
    assert world.noted() == [("server-started", "")]
