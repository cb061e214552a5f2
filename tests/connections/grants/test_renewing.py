"""A token is renewed once, whoever asks and whatever happens meanwhile, and nothing that was issued is lost."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from postern.connections.faults import ConnectionFault
from postern.connections.grants.no_grant import NoGrant
from postern.connections.grants.provider import RefusedByProvider
from postern.connections.grants.states import Shown, condition
from postern.connections.grants.tokens import GrantTokens, Issued
from postern.journal import grants as table
from postern.journal.grants import State
from tests.connections.grants.renewal import LISA, NOW, World, ended, unwell

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def token(world: World, owner: str = LISA) -> str:
    return (await world.grants.access("tickets", owner)).token


# At hand


async def test_a_good_token_is_used_and_its_row_is_read_again_after_five_seconds(world: World):
    await world.connected()
    assert [await token(world) for _ in range(3)] == ["access-1"] * 3
    assert world.database.reads == 1
    world.hand.at += 5.0
    await token(world)
    assert (world.database.reads, world.issuer.asked) == (2, [])


async def test_a_token_that_is_not_good_for_a_minute_is_renewed(world: World):
    await world.connected()
    world.expire(left=61.0)
    assert await token(world) == "access-1"
    world.expire(left=60.0)
    assert await token(world) == "access-2"
    row = world.database.row()
    assert (row.generation, row.attempt, row.holder, row.state) == (2, "", "", State.CONNECTED)
    assert row.access_expires_at == NOW + world.hand.at + 3600.0
    assert world.issuer.asked == ["refresh-1"]


async def test_a_token_of_which_the_provider_says_no_end_is_used(world: World):
    world.issuer.seconds = None
    await world.connected()
    world.hand.at += 86_400.0
    assert (await token(world), world.issuer.asked) == ("access-1", [])


async def test_what_is_not_connected_or_broken_says_so(world: World):
    with pytest.raises(NoGrant) as missing:
        await token(world)
    assert (missing.value.reason, missing.value.entry) == ("not-connected", "connections.tickets")
    await world.connected()
    with pytest.raises(NoGrant):
        await token(world, owner="tenant/ada")


async def test_what_another_process_deleted_is_gone_within_five_seconds(world: World):
    await world.connected()
    await token(world)
    await world.process("node-2").disconnect("tickets", LISA)
    world.hand.at += 5.0
    with pytest.raises(NoGrant):
        await token(world)


# One refresh


async def test_callers_share_one_refresh(world: World):
    await world.connected()
    world.expire()
    found = await asyncio.gather(*(token(world) for _ in range(50)))
    assert (set(found), world.issuer.asked) == ({"access-2"}, ["refresh-1"])


async def test_of_a_fault_each_caller_has_its_own(world: World):
    await world.connected()
    world.expire(left=-1.0)
    world.issuer.says.extend([ended()])
    faults = await asyncio.gather(*(token(world) for _ in range(9)), return_exceptions=True)
    assert len({id(fault) for fault in faults}) == 9
    assert {str(fault) for fault in faults} == {str(faults[0])}
    assert len(world.issuer.asked) == 1


async def test_two_processes_ask_once(world: World):
    await world.connected()
    world.expire()
    processes = [world.process(f"node-{number}") for number in range(2, 6)]
    found = await asyncio.gather(*(each.access("tickets", LISA) for each in processes for _ in range(5)))
    assert {each.token for each in found} == {"access-2"}
    assert world.issuer.asked == ["refresh-1"]


async def test_no_caller_stops_it(world: World):
    """Neither by going away nor by a timeout: the next run has the new token."""
    await world.connected()
    world.expire()
    world.issuer.gate.clear()
    callers = [asyncio.create_task(token(world)) for _ in range(3)]
    await world.issuer.arrived.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    world.issuer.gate.set()
    assert (await token(world), world.issuer.asked) == ("access-2", ["refresh-1"])


async def test_it_belongs_to_no_run(world: World):
    """What a run has in its context is not there."""
    mark: ContextVar[str] = ContextVar("mark", default="")
    found = []
    await world.connected()
    world.expire()
    mark.set("of a run")
    world.issuer.says.append(lambda: found.append(mark.get()))
    await token(world)
    assert found == [""]


async def test_a_stop_of_the_server_waits_for_it(world: World):
    await world.connected()
    world.expire()
    world.issuer.gate.clear()
    caller = asyncio.create_task(token(world))
    await world.issuer.arrived.wait()
    closing = asyncio.create_task(world.grants.aclose())
    await asyncio.sleep(0)
    world.issuer.gate.set()
    await closing
    row = world.database.row()
    assert (row.generation, await caller) == (2, "access-2")
    assert row.used_at == NOW + world.hand.at


async def test_a_stop_of_the_server_does_not_wait_for_another_process(world: World):
    await world.connected()
    world.expire(left=-1.0)
    world.process("node-2")
    world.hold()
    caller = asyncio.create_task(token(world))
    while not world.hand.slept:
        await asyncio.sleep(0)
    began = world.hand.at
    await world.grants.aclose()
    assert world.hand.at - began < 1.0
    with pytest.raises(ConnectionFault):
        await caller


# The provider says no


async def test_an_ended_grant_is_broken_with_its_reason_and_asked_once(world: World):
    await world.connected()
    world.expire()
    world.issuer.says.append(ended("revoked"))
    for _ in range(2):
        with pytest.raises(NoGrant) as fault:
            await token(world)
        assert fault.value.reason == "revoked"
        world.hand.at += 10.0
    row = world.database.row()
    assert (row.state, row.reason, row.attempt, len(world.issuer.asked)) == (State.BROKEN, "revoked", "", 1)


async def test_a_challenge_is_kept_for_the_next_authorization_request(world: World):
    await world.connected()
    world.expire()
    claims = '{"access_token": {}}'
    world.issuer.says.append(RefusedByProvider("x", "y", "interaction_required", "mfa-required", claims))
    with pytest.raises(NoGrant):
        await token(world)
    row = world.database.row()
    assert (row.state, row.reason, row.claims) == (State.BROKEN, "mfa-required", claims)


async def test_what_moved_on_meanwhile_is_used(world: World):
    """Another process replaced the attempt and has written new tokens, when the provider says invalid_grant."""
    await world.connected()
    world.expire()

    def overtaken() -> None:
        row = world.database.row()
        world.database.run(partial(table.release, name="tickets", owner=LISA, generation=1, attempt=row.attempt))
        world.hold()
        world.issuer.number = 7
        renewed = table.Renewed(*world.sealed(), NOW + world.hand.at + 3600.0, None, row.scopes)
        writing = partial(table.renew, name="tickets", owner=LISA, generation=1, attempt="theirs")
        assert world.database.run(partial(writing, renewed=renewed, now=NOW))

    world.issuer.says.append(overtaken)
    assert await token(world) == "access-7"
    assert world.database.row().state is State.CONNECTED


async def test_after_a_lost_response_the_reason_says_that_it_was_lost(world: World):
    await world.connected()
    world.expire(left=50.0)
    world.issuer.says.append(unwell())
    world.issuer.says.append(ended())
    assert await token(world) == "access-1"
    world.hand.at += 5.0
    with pytest.raises(NoGrant) as fault:
        await token(world)
    assert fault.value.reason == "no-answer"


async def test_the_row_is_read_again_before_the_refresh_token_is_sent(world: World):
    """The process was frozen after it took the grant, and another one has replaced its attempt and written."""
    await world.connected()
    world.expire()

    def overtaken() -> None:
        row = world.database.row()
        world.database.run(partial(table.release, name="tickets", owner=LISA, generation=1, attempt=row.attempt))
        world.hold()
        tokens = world.sealed(GrantTokens("theirs", "theirs"))
        renewed = table.Renewed(*tokens, NOW + world.hand.at + 3600.0, None, row.scopes)
        writing = partial(table.renew, name="tickets", owner=LISA, generation=1, attempt="theirs")
        assert world.database.run(partial(writing, renewed=renewed, now=NOW))

    world.database.after_write = overtaken
    assert (await token(world), world.issuer.asked) == ("theirs", [])


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_request", "other"])
async def test_a_mistake_of_the_entry_keeps_the_grant(world: World, code: str):
    await world.connected()
    world.expire(left=-1.0)
    world.issuer.says.append(RefusedByProvider("is rejected", "An operator corrects it", code, "client-rejected"))
    with pytest.raises(ConnectionFault, match="is rejected") as fault:
        await token(world)
    assert not isinstance(fault.value, NoGrant)
    row = world.database.row()
    assert (row.state, row.generation, row.attempt, len(world.issuer.asked)) == (State.CONNECTED, 1, "", 1)


# The provider is unwell


async def test_the_old_token_serves_while_it_lives(world: World):
    await world.connected()
    world.expire(left=30.0)
    world.issuer.says.extend([unwell()] * 9)
    assert [await token(world) for _ in range(5)] == ["access-1"] * 5
    assert len(world.issuer.asked) == 1  # a failure is followed by a rest
    reads = world.database.reads
    assert ([await token(world) for _ in range(50)], world.database.reads) == (["access-1"] * 50, reads)
    assert world.database.row().attempt == ""


async def test_the_rest_gets_longer_and_ends_with_a_success(world: World):
    await world.connected()
    world.expire(left=59.0)
    world.issuer.says.extend([unwell()] * 4)
    asked = []
    for _ in range(50):
        await token(world)
        asked.append(len(world.issuer.asked))
        world.hand.at += 1.0
    assert (asked[-1], await token(world)) == (5, "access-2")
    waits = [asked.count(number) for number in (1, 2, 3, 4)]
    assert waits == sorted(waits)


async def test_a_retry_after_is_obeyed(world: World):
    await world.connected()
    world.expire(left=59.0)
    world.issuer.says.append(unwell(retry_after=40.0))
    await token(world)
    world.hand.at += 39.0
    assert (await token(world), len(world.issuer.asked)) == ("access-1", 1)
    world.hand.at += 1.0
    assert await token(world) == "access-2"


async def test_without_a_token_it_is_tried_again_at_once_and_then_said(world: World):
    await world.connected()
    world.expire(left=-1.0)
    world.issuer.says.extend([unwell()] * 2)
    assert await token(world) == "access-2"
    world.expire(left=-1.0)
    world.issuer.says.extend([unwell()] * 4)
    with pytest.raises(ConnectionFault, match="cannot be renewed now"):
        await token(world)
    assert len(world.issuer.asked) == 3 + 4
    with pytest.raises(ConnectionFault, match="cannot be renewed now"):
        await token(world)
    assert len(world.issuer.asked) == 3 + 4


# Journal and vault


async def test_no_exchange_begins_while_the_journal_is_away(world: World):
    await world.connected()
    world.expire()
    world.database.away = True
    with pytest.raises(ConnectionFault, match="database is unavailable"):
        await token(world)
    assert world.issuer.asked == []


async def test_new_tokens_are_used_by_nobody_before_they_are_written_and_never_lost(world: World):
    await world.connected()
    world.expire()
    world.issuer.says.append(lambda: setattr(world.database, "away", True))
    caller = asyncio.create_task(token(world))
    while len(world.hand.slept) < 20:
        await asyncio.sleep(0)
    assert not caller.done()
    world.database.away = False
    assert await caller == "access-2"
    assert (world.database.row().generation, world.issuer.asked) == (2, ["refresh-1"])


async def test_a_lost_acknowledgement_loses_no_tokens(world: World):
    """Each operation runs twice, or is committed though its caller got an error."""
    await world.connected()
    world.database.twice = True
    world.expire()
    assert await token(world) == "access-2"
    world.database.twice = False
    world.expire()
    world.issuer.says.append(lambda: setattr(world.database, "unheard", 1))
    assert await token(world) == "access-3"
    assert world.database.row().generation == 3
    world.expire()
    world.database.unheard = 1  # of the attempt: it is given back
    assert await token(world) == "access-3"
    assert world.database.row().attempt == ""
    world.hand.at += 5.0
    assert await token(world) == "access-4"


async def test_a_vault_that_is_away_stops_no_token_in_memory(world: World):
    await world.connected()
    await token(world)
    world.keys.away = True
    world.hand.at += 600.0
    assert await token(world) == "access-1"
    world.expire(left=30.0)
    assert (await token(world), world.issuer.asked) == ("access-1", [])  # it could not be sealed
    world.expire(left=-1.0)
    with pytest.raises(ConnectionFault, match="POSTERN_GRANTS_KEY_NAME cannot be read"):
        await token(world)
    assert (world.issuer.asked, world.database.row().attempt) == ([], "")


async def test_a_new_version_of_the_key_seals_the_next_tokens(world: World):
    await world.connected()
    world.keys.versions["v2"] = b"2" * 32
    assert await token(world) == "access-1"
    world.expire()
    assert (await token(world), world.database.row().key_version) == ("access-2", "v2")


async def test_a_row_that_does_not_open_is_broken_alone(world: World):
    await world.connected()
    await world.connected(owner="tenant/ada")
    world.keys.versions = {"v2": b"2" * 32}
    with pytest.raises(NoGrant) as fault:
        await token(world)
    assert fault.value.reason == "cannot-open"
    await world.connected(owner="tenant/bob")
    assert await token(world, owner="tenant/bob") == "access-1"
    world.keys.versions["v1"] = b"1" * 32
    assert await token(world, owner="tenant/ada") == "access-1"


# Other server processes


async def test_it_waits_for_the_process_that_renews(world: World):
    await world.connected()
    world.expire()
    other = world.process("node-2")
    world.issuer.gate.clear()
    theirs = asyncio.create_task(other.access("tickets", LISA))
    await world.issuer.arrived.wait()
    ours = asyncio.create_task(token(world))
    while len(world.hand.slept) < 3:
        await asyncio.sleep(0)
    world.issuer.gate.set()
    assert {await ours, (await theirs).token} == {"access-2"}
    assert world.issuer.asked == ["refresh-1"]


async def test_after_the_death_of_a_holder_it_goes_on_by_itself(world: World):
    """The holder of this machine has ended, or has no row in `nodes` any more."""
    await world.connected()
    world.process("node-2", process="4194305:1")
    for node in ("node-2", "node-3"):
        world.expire()
        world.hold(node=node)
        generation = world.database.row().generation
        assert (await token(world), world.database.row().generation) == (f"access-{generation + 1}", generation + 1)


async def test_a_token_that_a_dead_holder_used_up_is_asked_for_once_and_broken_with_that_reason(world: World):
    await world.connected()
    world.expire()
    world.hold(node="node-3")
    world.issuer.number = 2  # it has used the token up
    for _ in range(3):
        with pytest.raises(NoGrant) as fault:
            await token(world)
        assert fault.value.reason == "server-stopped"
    assert (world.issuer.asked, world.database.row().reason) == (["refresh-1"], "server-stopped")


async def test_an_attempt_that_stays_the_same_for_long_is_replaced(world: World):
    await world.connected()
    world.expire()
    world.process("node-2", machine="another machine")
    world.hold()
    began = world.hand.at
    found = ""
    while found != "access-2":
        with suppress(ConnectionFault):
            found = await token(world)
    assert 90.0 <= world.hand.at - began <= 121.0
    assert world.issuer.asked == ["refresh-1"]


async def test_what_an_overtaken_holder_gets_is_not_used(world: World):
    """It wakes after another process has replaced its attempt: its own write has no effect."""
    await world.connected()
    world.expire()
    other = world.process("node-2", machine="another machine")
    world.issuer.says.append(Issued(GrantTokens("too-late", "too-late"), 3600.0))
    world.issuer.gate.clear()
    theirs = asyncio.create_task(other.access("tickets", LISA))
    await world.issuer.arrived.wait()
    row = world.database.row()
    renewed = table.Renewed(*world.sealed(GrantTokens("access-9", "refresh-9")), NOW + 1e6, None, row.scopes)
    world.database.run(partial(table.release, name="tickets", owner=LISA, generation=1, attempt=row.attempt))
    world.hold("ours", "node-1")
    writing = partial(table.renew, name="tickets", owner=LISA, generation=1, attempt="ours")
    assert world.database.run(partial(writing, renewed=renewed, now=NOW))
    world.issuer.gate.set()
    assert (await theirs).token == "access-9"
    assert world.issuer.revoked == []


async def test_a_process_without_its_row_does_not_take_a_grant(world: World):
    """Others would take it for gone."""
    await world.connected()
    world.expire(left=-1.0)
    newcomer = world.process("node-5", register=False)
    with pytest.raises(ConnectionFault):
        await newcomer.access("tickets", LISA)
    assert (world.issuer.asked, world.database.row().attempt) == ([], "")
    newcomer = world.process("node-5")
    assert (await newcomer.access("tickets", LISA)).token == "access-2"


# A token that an API rejects


async def test_after_a_401_the_row_is_read_again_then_the_token_is_renewed_once(world: World):
    await world.connected()
    old = await world.grants.access("tickets", LISA)
    world.hand.at += 100.0
    await world.process("node-2").refresh("tickets", LISA, 1)
    newer = await world.grants.renewed("tickets", LISA, old)
    assert newer is not None
    assert (newer.token, world.issuer.asked) == ("access-2", ["refresh-1"])
    assert await world.grants.renewed("tickets", LISA, newer) is None  # it is itself new
    world.hand.at += 100.0
    found = await asyncio.gather(*(world.grants.renewed("tickets", LISA, newer) for _ in range(9)))
    assert {each and each.token for each in found} == {"access-3"}
    assert world.issuer.asked == ["refresh-1", "refresh-2"]


async def test_after_a_401_without_another_token_there_is_none(world: World):
    await world.connected()
    old = await world.grants.access("tickets", LISA)
    world.hand.at += 100.0
    world.issuer.says.append(unwell())
    with pytest.raises(ConnectionFault):
        await world.grants.renewed("tickets", LISA, old)


# Connect and disconnect


async def test_without_a_refresh_token_it_serves_until_it_ends(world: World):
    issued = Issued(GrantTokens("only"), 3600.0)
    await world.grants.store("tickets", LISA, issued, LISA, ("read",), "c")
    assert world.database.row().reason == "no-refresh-token"
    world.expire(left=1.0)
    assert await token(world) == "only"
    world.expire(left=0.0)
    with pytest.raises(NoGrant) as fault:
        await token(world)
    row = world.database.row()
    assert (fault.value.reason, row.state, row.reason) == ("expired", State.BROKEN, "expired")


@pytest.mark.parametrize(
    ("seconds", "reason", "state"),
    [(3600.0, "no-refresh-token", Shown.EXPIRING), (None, "fewer-scopes", Shown.CONNECTED)],
)
async def test_that_a_grant_ends_soon_is_said_also_if_it_has_fewer_scopes(
    world: World, seconds: float | None, reason: str, state: Shown
):
    issued = Issued(GrantTokens("only"), seconds, scopes=("read",))
    assert await world.grants.store("tickets", LISA, issued, LISA, ("read", "write"), "a consent")
    row = world.database.row()
    assert (row.reason, condition(row, row.connected_at).state) == (reason, state)


@pytest.mark.parametrize(
    ("asked", "granted", "reason"),
    [
        (("read", "write"), None, ""),
        (("read", "write"), ("write", "read"), ""),
        (("read", "write"), ("read",), "fewer-scopes"),
        (("openid", "offline_access", "User.Read"), ("https://graph.microsoft.com/User.Read",), ""),
        (("https://graph.microsoft.com/Mail.Send",), ("User.Read",), "fewer-scopes"),
    ],
)
async def test_fewer_scopes_are_connected_and_marked(
    world: World, asked: tuple[str, ...], granted: tuple[str, ...] | None, reason: str
):
    issued = replace(world.issuer.issued(), scopes=granted)
    assert await world.grants.store("tickets", LISA, issued, LISA, asked, "c")
    row = world.database.row()
    assert (row.state, row.reason, row.scopes) == (State.CONNECTED, reason, asked if granted is None else granted)


async def test_another_account_is_not_stored(world: World):
    await world.connected(account="1")
    other = world.issuer.issued(account="2")
    assert not await world.grants.store("tickets", LISA, other, LISA, ("read",), "another")
    assert world.database.row().account == "1"


async def test_a_disconnected_grant_is_ended_at_the_provider_also_the_tokens_of_a_refresh_in_progress(world: World):
    await world.connected()
    world.expire()
    world.issuer.gate.clear()
    caller = asyncio.create_task(token(world))
    await world.issuer.arrived.wait()
    assert await world.grants.disconnect("tickets", LISA) == ""
    world.issuer.gate.set()
    with pytest.raises(NoGrant):
        await caller
    assert (world.database.grant(), world.issuer.revoked) == (None, ["refresh-1", "refresh-2"])


async def test_a_grant_that_is_renewed_while_it_is_disconnected_is_ended_by_its_newest_tokens(world: World):
    """A provider that has replaced a refresh token may not end the grant by the old one, and says that all is well."""
    await world.connected()
    world.expire()
    read, other = world.database.read, world.process("node-2")

    async def overtaken(operation: Any) -> Any:
        found = await read(operation)
        if world.database.row().generation == 1:
            await other.refresh("tickets", LISA, 1)
        return found

    world.grants._read = overtaken
    assert await world.grants.disconnect("tickets", LISA) == ""
    assert (world.database.grant(), world.issuer.revoked) == (None, ["refresh-2"])


async def test_a_disconnected_grant_is_deleted_though_it_does_not_open(world: World):
    await world.connected()
    world.keys.away = True
    assert "could not be ended at the provider" in await world.grants.disconnect("tickets", LISA)
    assert world.database.grant() is None
    with pytest.raises(NoGrant):
        await world.grants.disconnect("tickets", LISA)


async def test_who_connects_again_during_a_refresh_has_the_new_tokens(world: World):
    await world.connected()
    world.expire()
    world.issuer.gate.clear()
    caller = asyncio.create_task(token(world))
    await world.issuer.arrived.wait()
    again = Issued(GrantTokens("again", "again"), 3600.0)
    assert await world.grants.store("tickets", LISA, again, LISA, world.issuer.scopes, "again")
    world.issuer.gate.set()
    assert (await caller, world.database.row().generation, world.issuer.revoked) == ("again", 2, [])


async def test_no_token_is_in_a_log_an_error_or_a_repr(world: World):
    with capture_logs() as logs:
        await world.connected()
        world.expire()
        await token(world)
        world.expire(left=-1.0)
        world.issuer.says.extend([unwell()] * 4)
        with pytest.raises(ConnectionFault) as fault:
            await token(world)
        world.hand.at += 60.0
        world.issuer.says.append(ended())
        with pytest.raises(NoGrant) as broken:
            await token(world)
        await world.grants.disconnect("tickets", LISA)
    assert {line["event"] for line in logs} == {
        "grant-connected",
        "grant-renewed",
        "grant-not-renewed",
        "grant-broken",
        "grant-disconnected",
    }
    shown = repr((logs, vars(fault.value), vars(broken.value), world.issuer.issued(), vars(world.grants)))
    assert "access-" not in shown
    assert "refresh-" not in shown
