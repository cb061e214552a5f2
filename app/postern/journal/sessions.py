"""The table of sessions: people who are signed in with a browser, by the hash of the id that their cookie has.

Whoever reads the table, a backup or a list of sessions cannot use one: an id cannot be found from its hash.
"""

import json
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from postern.browser_secrets import is_hash
from postern.journal.inserts import insert_into
from postern.journal.schema import sessions
from postern.settings import Settings

SKEW = 300.0
"""Seconds by which the clocks of server processes may differ. A session from further in the future was made by a clock
that was wrong, and would never end."""

MOST_LISTED = 500


@dataclass(frozen=True, slots=True)
class Ends:
    """When sessions end: so many seconds after the last request, and so many after signing in, whichever is first."""

    idle: float = 30 * 60.0
    life: float = 12 * 3600.0


def ends_of(settings: Settings) -> Ends:
    """When the settings let sessions end."""
    return Ends(idle=settings.session_idle_minutes * 60.0, life=settings.session_hours * 3600.0)


@dataclass(frozen=True, slots=True)
class Session:
    """A session: who signed in, from which address, and when it was made and used last, in Unix seconds."""

    id_hash: str
    tenant_id: str
    object_id: str
    name: str
    roles: frozenset[str]
    address: str
    created_at: float
    seen_at: float

    def __post_init__(self) -> None:
        if not is_hash(self.id_hash):
            raise ValueError("a session is stored by the hash of its id only")

    def lives(self, now: float, ends: Ends) -> bool:
        """Whether it has not ended."""
        return now - ends.life < self.created_at <= now + SKEW and now - ends.idle < self.seen_at <= now + SKEW


def begin(connection: Connection, session: Session) -> None:
    """Store a new session. It may be repeated."""
    insert = insert_into(connection.dialect.name, sessions)
    row = {column.name: getattr(session, column.name) for column in sessions.columns}
    row["roles"] = json.dumps(sorted(session.roles))
    connection.execute(insert.values(row).on_conflict_do_nothing(index_elements=[sessions.c.id_hash]))


def find(connection: Connection, id_hash: str, now: float, ends: Ends) -> Session | None:
    """The session of this id, unless it has ended."""
    row = connection.execute(select(sessions).where(sessions.c.id_hash == id_hash)).one_or_none()
    found = _session(row) if row is not None else None
    return found if found is not None and found.lives(now, ends) else None


def note_use(connection: Connection, id_hash: str, now: float, ends: Ends) -> None:
    """Note that a person uses the session now. One that has ended stays so. It may be repeated, and in any order."""
    connection.execute(
        update(sessions)
        .where(sessions.c.id_hash == id_hash, *_living(now, ends), sessions.c.seen_at < now)
        .values(seen_at=now)
    )


def listed(
    connection: Connection,
    now: float,
    ends: Ends,
    person: tuple[str, str] | None = None,
    limit: int = MOST_LISTED,
    after: tuple[float, str] | None = None,
) -> list[Session]:
    """The sessions that have not ended, the latest use first: those of one person (tenant and object id), or all.
    `after` is the last one of the page before: when it was used last, and its hash."""
    query = select(sessions).where(*_living(now, ends))
    if person is not None:
        query = query.where(*_of(person))
    if after is not None:
        seen_at, id_hash = after
        same = and_(sessions.c.seen_at == seen_at, sessions.c.id_hash > id_hash)
        query = query.where(or_(sessions.c.seen_at < seen_at, same))
    ordered = query.order_by(sessions.c.seen_at.desc(), sessions.c.id_hash).limit(limit)
    return [_session(row) for row in connection.execute(ordered)]


def end(connection: Connection, id_hash: str, person: tuple[str, str] | None = None) -> str:
    """End a session; of this person (tenant and object id) only, if one is given. Returns the object id of the person
    whose it was, "" if there is none. It may be repeated."""
    ended = delete(sessions).where(sessions.c.id_hash == id_hash).returning(sessions.c.object_id)
    return connection.scalar(ended if person is None else ended.where(*_of(person))) or ""


def delete_sessions(connection: Connection, now: float, ends: Ends, limit: int) -> int:
    """Delete up to `limit` sessions that have ended. Returns how many."""
    over = or_(sessions.c.created_at <= now - ends.life, sessions.c.seen_at <= now - ends.idle)
    chosen = select(sessions.c.id_hash).where(over).limit(limit).with_for_update(skip_locked=True)
    hashes = connection.execute(chosen).scalars().all()
    connection.execute(delete(sessions).where(sessions.c.id_hash.in_(hashes)))
    return len(hashes)


def _living(now: float, ends: Ends) -> tuple[ColumnElement[bool], ...]:
    """The condition of `Session.lives`."""
    return (
        sessions.c.created_at > now - ends.life,
        sessions.c.seen_at > now - ends.idle,
        sessions.c.created_at <= now + SKEW,
        sessions.c.seen_at <= now + SKEW,
    )


def _of(person: tuple[str, str]) -> tuple[ColumnElement[bool], ...]:
    tenant_id, object_id = person
    return sessions.c.object_id == object_id, sessions.c.tenant_id == tenant_id


def _session(row: object) -> Session:
    values = row._asdict()  # type: ignore[attr-defined]
    return Session(**values | {"roles": frozenset(json.loads(values["roles"]))})
