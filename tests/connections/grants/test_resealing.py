"""All grants are sealed with the newest key beside servers that renew them; and what of tokens is in a database."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, text

from postern.connections.faults import ConnectionFault
from postern.connections.grants.resealing import Resealed, reseal_all
from postern.connections.grants.seal import Moved, Seal
from postern.connections.grants.tokens import GrantTokens
from postern.connections.sealing.sealed_text import CannotOpen
from postern.journal.database import postgres_dumps, sqlite_copies
from postern.journal.database.engine import file_of
from postern.journal.grant_upkeep import reseal
from postern.journal.grants import Renewed, find, renew, take
from tests.databases import make_tables
from tests.journal.engines import empty_journal
from tests.journal.grant_rows import ADA, LISA, NOW, grant, put, stored
from tests.tools import postgres_tools

T = TypeVar("T")

TOKENS = GrantTokens("ACCESS-TOKEN-MARKER", "REFRESH-TOKEN-MARKER")


class Ring:
    """Versions of a key, the newest last."""

    def __init__(self, *versions: str) -> None:
        self.keys = {version: os.urandom(32) for version in versions}

    async def newest(self) -> tuple[str, bytes]:
        return list(self.keys.items())[-1]

    async def of(self, version: str) -> bytes:
        if version not in self.keys:
            raise CannotOpen("its key is gone")
        return self.keys[version]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = empty_journal(database_url)
    yield engine
    engine.dispose()


async def connect_all(engine: Engine, keys: Ring, *rows: tuple[str, str]) -> None:
    seal = Seal(keys)
    for name, owner in rows:
        sealed, version = await seal.seal(name, owner, TOKENS)
        put(engine, grant(name, owner, sealed=sealed, key_version=version))


def transacting(engine: Engine) -> Callable[[Callable[[Connection], T]], T]:
    def transact(operation: Callable[[Connection], T]) -> T:
        with engine.begin() as connection:
            return operation(connection)

    return transact


async def opens(engine: Engine, keys: Ring, name: str, owner: str) -> GrantTokens:
    found = stored(engine, name, owner)
    return await Seal(keys).open(name, owner, found.sealed, found.key_version)


ROWS = [("tickets", LISA), ("tickets", ADA), ("wiki", "")]


@pytest.mark.anyio
async def test_each_grant_is_sealed_anew_once_and_progress_is_told(engine: Engine):
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)
    keys.keys["v2"] = os.urandom(32)
    told: list[tuple[int, int]] = []
    resealed = await reseal_all(keys, transacting(engine), lambda done, total: told.append((done, total)))
    assert resealed == Resealed("v2", 3, 0, ())
    assert told == [(1, 3), (2, 3), (3, 3)]
    del keys.keys["v1"]
    assert [await opens(engine, keys, *row) for row in ROWS] == [TOKENS] * 3
    assert await reseal_all(keys, transacting(engine)) == Resealed("v2", 0, 0, ())


@pytest.mark.anyio
async def test_two_rows_whose_values_were_swapped_both_refuse_and_no_other_row_does(engine: Engine):
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)
    [one, two] = [stored(engine, *row).sealed for row in ROWS[:2]]
    with engine.begin() as connection:
        for (name, owner), sealed in zip(ROWS[:2], (two, one), strict=True):
            connection.execute(
                text("UPDATE grants SET sealed = :sealed WHERE connection = :name AND owner = :owner"),
                {"sealed": sealed, "name": name, "owner": owner},
            )
    for row in ROWS[:2]:
        with pytest.raises(CannotOpen):
            await opens(engine, keys, *row)
    assert await opens(engine, keys, *ROWS[2]) == TOKENS
    keys.keys["v2"] = os.urandom(32)
    resealed = await reseal_all(keys, transacting(engine))
    assert (resealed.done, resealed.left, sorted(resealed.unopened)) == (1, 2, sorted(ROWS[:2]))
    assert [stored(engine, *row).sealed for row in ROWS[:2]] == [two, one]


@pytest.mark.anyio
async def test_it_goes_on_after_an_interruption(engine: Engine):
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)
    keys.keys["v2"] = os.urandom(32)

    def interrupted(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reseal_all(keys, transacting(engine), interrupted)
    assert await reseal_all(keys, transacting(engine)) == Resealed("v2", 1, 0, ())


@pytest.mark.anyio
async def test_tokens_that_a_server_writes_meanwhile_stay_and_are_sealed_anew_too(engine: Engine):
    """The server still has the former version in memory, and renews between the reading and the writing of a row."""
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)
    newer = [GrantTokens(f"access-{number}", f"refresh-{number}") for number in range(2)]
    written = [
        (await Seal(keys).seal("tickets", LISA, tokens), generation) for generation, tokens in enumerate(newer, 1)
    ]
    keys.keys["v2"] = os.urandom(32)
    transact = transacting(engine)

    def beside(operation: Any) -> Any:
        if operation.func is reseal and operation.keywords["former"].owner == LISA and written:
            (sealed, version), generation = written.pop(0)
            row: dict[str, Any] = {"name": "tickets", "owner": LISA, "generation": generation, "attempt": "a"}
            assert transact(partial(take, before="", holder="node", **row))
            assert transact(partial(renew, renewed=Renewed(sealed, version, None, None, ()), now=NOW, **row))
        return transact(operation)

    assert await reseal_all(keys, beside) == Resealed("v2", 3, 0, ())
    assert await opens(engine, keys, "tickets", LISA) == newer[-1]
    assert (stored(engine).generation, stored(engine).key_version) == (3, "v2")


@pytest.mark.anyio
async def test_a_vault_that_is_away_is_a_fault_before_anything_is_written(engine: Engine):
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)

    class Away(Ring):
        async def newest(self) -> tuple[str, bytes]:
            raise ConnectionFault("the secret key", "cannot be read", "Try again later")

    with pytest.raises(ConnectionFault):
        await reseal_all(Away(), transacting(engine))
    assert [await opens(engine, keys, *row) for row in ROWS] == [TOKENS] * 3


@pytest.mark.anyio
@pytest.mark.process
async def test_no_token_is_in_the_database_its_log_a_backup_or_a_dump(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    make_tables(database_url)
    engine = empty_journal(database_url)
    keys = Ring("v1")
    await connect_all(engine, keys, *ROWS)
    keys.keys["v2"] = os.urandom(32)
    await reseal_all(keys, transacting(engine))
    backup = tmp_path / "backup"
    backup.touch()
    path = file_of(database_url)
    if path is not None:
        sqlite_copies.copy(path, backup)
        files = [backup, *path.parent.glob(f"{path.name}*")]
        assert f"{path.name}-wal" in {each.name for each in files}
        contents = [each.read_bytes() for each in files]
    else:
        monkeypatch.setenv("PATH", postgres_tools(request.getfixturevalue("postgres_url")))
        postgres_dumps.dump(database_url, backup, backup)
        contents = [backup.read_bytes(), postgres_dumps.run(["pg_restore", "--file=-", str(backup)]).encode()]
    with engine.connect() as connection:
        found = find(connection, *ROWS[0])
    assert found is not None
    contents.append(repr(found).encode())
    engine.dispose()
    assert any(LISA.encode() in each for each in contents)
    for marker in (b"TOKEN-MARKER", TOKENS.access_token.encode().hex().encode()):
        assert [content for content in contents if marker in content] == []


@pytest.mark.anyio
async def test_where_the_tokens_go_stays_sealed_with_them(engine: Engine):
    keys = Ring("v1")
    sealed, version = await Seal(keys, lambda _: "before").seal("tickets", LISA, TOKENS)
    put(engine, grant("tickets", LISA, sealed=sealed, key_version=version))
    keys.keys["v2"] = os.urandom(32)
    assert await reseal_all(keys, transacting(engine)) == Resealed("v2", 1, 0, ())
    found = stored(engine, "tickets", LISA)
    for place, opening in (("before", nullcontext()), ("after", pytest.raises(Moved))):
        with opening:
            seal = Seal(keys, {"tickets": place}.__getitem__)
            assert await seal.open("tickets", LISA, found.sealed, found.key_version) == TOKENS
