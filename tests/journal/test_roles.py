"""The roles that the page about the database makes: one migrates, the other reads and writes rows and no more."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import ProgrammingError

from postern.ids import new_id
from postern.journal.database.engine import migrate, open_engine
from postern.journal.database.revisions import HEAD
from tests.process.servers import ROOT
from tests.releases import OF_0001, say

PAGE = (ROOT / "deploy" / "database" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def roles(postgres_url: str) -> Iterator[tuple[str, str]]:
    """URLs of the owner and of the server's role, in a database that the page's statements made, under other names."""
    name = f"test_{new_id().replace('-', '')[-20:]}"
    blocks = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    made = str(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    for url, block in zip((postgres_url, made), blocks, strict=True):
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in filter(str.strip, re.sub(r"\bpostern", name, block).split(";")):
                connection.execute(statement.encode())

    def as_role(role: str) -> str:
        url = make_url(made).update_query_dict({"options": f"-crole={role}"})
        return url.render_as_string(hide_password=False)

    yield as_role(f"{name}_owner"), as_role(name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (f"DATABASE {name} WITH (FORCE)", f"ROLE {name}", f"ROLE {name}_owner"):
            connection.execute(f"DROP {statement}".encode())


def test_the_servers_role_writes_rows_and_changes_no_table(roles: tuple[str, str]):
    owner, server = (open_engine(url, writing=True) for url in roles)
    with pytest.raises(ProgrammingError, match="permission denied"):
        migrate(server)
    assert migrate(owner) == ""
    assert migrate(server) == HEAD
    with server.begin() as connection:
        say(connection, OF_0001)
        assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 1
    for forbidden in ("DROP TABLE runs", "CREATE TABLE mine (id TEXT)", "ALTER TABLE runs ADD COLUMN x TEXT"):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), server.begin() as connection:
            connection.execute(text(forbidden))
    owner.dispose()
    server.dispose()
