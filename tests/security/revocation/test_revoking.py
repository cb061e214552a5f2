"""Making and taking back: what is checked, what is written, and who is told."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert
from structlog.testing import capture_logs

from postern.access import Caller
from postern.errors import Problem
from postern.journal import revocations as table
from postern.journal.audit_event import FIELDS
from postern.journal.database.engine import open_engine
from postern.journal.revocations import Kind, Revocation
from postern.journal.schema import sessions
from postern.security.audit.log import AuditLog
from postern.security.revocation.revocations import Revocations
from postern.security.revocation.revoking import LONGEST_BAR, Revoking, Wanted
from tests.databases import put_sqlite
from tests.journal.recorded import put, run_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NOW = 1_700_000_000.0
TENANT = "11111111-1111-1111-1111-111111111111"
OTHER_TENANT = "22222222-2222-2222-2222-222222222222"
ADA = "aaaaaaaa-0000-0000-0000-000000000001"
BO = "aaaaaaaa-0000-0000-0000-000000000002"
LISA = "aaaaaaaa-0000-0000-0000-000000000003"
CLI = "cccccccc-0000-0000-0000-000000000001"
POSTERN = "cccccccc-0000-0000-0000-000000000002"
BY = Caller("user", object_id=ADA, tenant_id=TENANT, client_id=CLI, name="Ada", token_id="own-token-id")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.audit = AuditLog(now=lambda: NOW)
        self.revocations = Revocations(now=lambda: NOW, clock=lambda: 1.0)
        self.revocations.apply([], 0.0)
        self.revoking = Revoking(
            self.revocations,
            self.read,
            self.write,
            self.audit.note,
            TENANT,
            POSTERN,
            frozenset({ADA, BO}),
            lambda: {"lisa": LISA},
            now=lambda: NOW,
        )

    async def read(self, query: Callable[[Connection], Any], seconds: float = 0.0) -> Any:
        with self.engine.connect() as connection:
            return query(connection)

    async def write(self, operation: Callable[[Connection], Any]) -> Any:
        with self.engine.begin() as connection:
            return operation(connection)

    async def make(self, subject: str = LISA, kind: Kind | None = Kind.CALLER, **more: Any) -> Revocation:
        return await self.revoking.make(Wanted(subject, kind, **more), BY)

    async def problem(self, subject: str = LISA, kind: Kind | None = Kind.CALLER, **more: Any) -> Problem:
        with pytest.raises(Problem) as caught:
            await self.make(subject, kind, **more)
        return caught.value

    def stored(self) -> list[Revocation]:
        with self.engine.connect() as connection:
            return table.listed(connection, NOW, 100, active=False)


@pytest.fixture
def world(tmp_path):
    engine = open_engine(put_sqlite(tmp_path / "journal.db"), writing=True)
    yield World(engine)
    engine.dispose()


async def test_a_revocation_is_stored_applied_audited_and_logged(world: World):
    with capture_logs() as logs:
        made = await world.make(seconds=3600.0, reason="stolen laptop")
    assert world.stored() == [made]
    assert (made.name, made.rule.tenant_id, made.rule.bars_until) == ("lisa", TENANT, NOW + 3600)
    assert world.revocations.refusing(Caller("user", object_id=LISA, tenant_id=TENANT)) is not None
    [event] = world.audit.take()
    assert (event.kind, event.subject) == ("revocation", LISA)
    assert event.fields.keys() == set(FIELDS[event.kind])
    assert event.fields["revoked"] == LISA
    assert [line["event"] for line in logs] == ["access-revoked"]


async def test_what_is_taken_back_is_applied_audited_and_logged_once(world: World):
    made = await world.make()
    world.audit.take()
    with capture_logs() as logs:
        first = await world.revoking.lift(made.id, BY)
        again = await world.revoking.lift(made.id, BY)
    assert first == again
    assert first.lifted
    assert world.revocations.refusing(Caller("user", object_id=LISA, tenant_id=TENANT)) is None
    [event] = world.audit.take()
    assert event.kind == "revocation-lifted"
    assert event.fields.keys() == set(FIELDS[event.kind])
    assert [line["event"] for line in logs] == ["revocation-lifted"]


@pytest.mark.parametrize("revocation_id", ["nothing", "01980d3c-8c5e-7cc3-98c4-dc0c0c07398f"])
async def test_what_does_not_exist_is_not_taken_back(world: World, revocation_id: str):
    with pytest.raises(Problem) as caught:
        await world.revoking.lift(revocation_id, BY)
    assert caught.value.code == "unknown-revocation"


@pytest.mark.parametrize(
    ("subject", "kind", "confirmed"),
    [
        (ADA, Kind.CALLER, "your own access"),
        (CLI, Kind.CLIENT, "your own access"),
        ("own-token-id", Kind.TOKEN, "your own access"),
        (POSTERN, Kind.CLIENT, "Postern's own application"),
    ],
)
async def test_what_may_shut_out_the_operators_is_confirmed_first(
    world: World, subject: str, kind: Kind, confirmed: str
):
    refused = await world.problem(subject, kind)
    assert (refused.status, refused.code) == (409, "confirmation-required")
    assert confirmed in refused.detail
    assert world.stored() == []
    assert (await world.make(subject, kind, confirmed=True)).rule.subject == subject


async def test_the_last_operator_of_the_settings_is_revoked_with_a_confirmation_only(world: World):
    await world.make(ADA, confirmed=True)
    refused = await world.problem(BO)
    assert "cannot be counted" in refused.detail
    await world.make(BO, confirmed=True)


async def test_one_of_several_operators_needs_no_confirmation(world: World):
    assert (await world.make(BO)).rule.subject == BO


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"subject": "lisa@example.com"}, "subject"),
        ({"subject": "short", "kind": Kind.TOKEN}, "subject"),
        ({"subject": "own-token-2", "kind": Kind.TOKEN, "seconds": 60.0}, "for_seconds"),
        ({"seconds": -1.0}, "for_seconds"),
        ({"seconds": LONGEST_BAR + 1}, "for_seconds"),
        ({"seconds": float("nan")}, "for_seconds"),
        ({"tenant_id": "example.com"}, "tenant_id"),
        ({"subject": CLI, "kind": None}, "kind"),
    ],
)
async def test_a_revocation_that_would_mean_nothing_is_refused(world: World, changes: dict[str, Any], where: str):
    refused = await world.problem(**changes)
    assert refused.code == "invalid-body"
    assert refused.members["errors"][0]["where"] == where
    assert world.stored() == []


async def test_a_name_of_people_and_an_operator_are_known_to_be_callers(world: World):
    assert (await world.make(LISA.upper(), None)).rule.kind is Kind.CALLER
    assert (await world.make(BO, None)).rule.kind is Kind.CALLER


@pytest.mark.parametrize(("subject", "kind"), [(LISA, Kind.CLIENT), (CLI, Kind.CALLER)])
async def test_an_id_that_is_known_as_the_other_kind_is_revoked_only_if_that_is_confirmed(
    world: World, subject: str, kind: Kind
):
    with world.engine.begin() as connection:
        put(connection, run_row(1, object_id=BO, client_id=CLI))
    refused = await world.problem(subject, kind)
    assert (refused.code, "would end no access" in refused.detail) == ("confirmation-required", True)
    assert world.stored() == []
    assert (await world.make(subject, kind, confirmed=True)).rule.kind is kind


async def test_a_person_of_another_tenant_is_revoked_there(world: World):
    assert (await world.make(tenant_id=OTHER_TENANT)).rule.tenant_id == OTHER_TENANT


async def test_a_person_who_is_known_of_another_tenant_is_revoked_there_without_its_id(world: World):
    with world.engine.begin() as connection:
        put(connection, run_row(1, object_id=LISA, tenant_id=OTHER_TENANT))
    assert (await world.make()).rule.tenant_id == OTHER_TENANT
    assert world.revocations.refusing(Caller("user", object_id=LISA, tenant_id=OTHER_TENANT)) is not None


async def test_an_id_that_is_known_of_two_tenants_needs_the_tenant(world: World):
    with world.engine.begin() as connection:
        put(connection, run_row(1, object_id=LISA, tenant_id=OTHER_TENANT))
        connection.execute(
            insert(sessions).values(
                id_hash="x",
                tenant_id=TENANT,
                object_id=LISA,
                name="",
                roles="[]",
                address="",
                created_at=NOW,
                seen_at=NOW,
            )
        )
    refused = await world.problem()
    assert refused.members["errors"][0]["where"] == "tenant_id"
    assert (await world.make(tenant_id=TENANT)).rule.tenant_id == TENANT


async def test_clients_and_tokens_are_revoked_in_every_tenant(world: World):
    assert (await world.make(CLI.replace("1", "9"), Kind.CLIENT)).rule.tenant_id == ""
    assert (await world.make("a-token-id", Kind.TOKEN)).rule.tenant_id == ""


async def test_a_reason_is_kept_as_plain_text_of_a_bounded_length(world: World):
    made = await world.make(reason="evil\x1b[31m" + "x" * 1000)
    assert "\x1b" not in made.reason
    assert len(made.reason) == 500
