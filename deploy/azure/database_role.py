"""Makes the database for the server's POSTERN_DATABASE_URL, and its role. It runs in the job of database-role.bicep, as
the database server's administrator, and may run again.

DATABASE_ROLE is the role's name, and DATABASE_ROLE_OBJECT_ID the identity that it belongs to. Other identities of the
tenant cannot sign in with this role.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, make_url, text

from postern.journal.database.engine import open_engine
from postern.passwordless.database_url import like
from postern.settings import load_settings

DATABASE = "postern"
ROLE_EXISTS = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
DATABASE_EXISTS = text("SELECT 1 FROM pg_database WHERE datname = :database")
# Azure's own function, which is in the database `postgres` only: a service, no administrator, without MFA.
MAKE_ROLE = text("SELECT pgaadauth_create_principal_with_oid(:role, :object_id, 'service', false, false)")


@contextmanager
def connected(url: str, database: str) -> Iterator[Connection]:
    """A connection to one database of the server. Each statement is a transaction."""
    named = make_url(url).set(database=database).render_as_string(hide_password=False)
    engine = open_engine(like(url, named), writing=True)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    finally:
        engine.dispose()


def main() -> None:
    """Make the role and the database if they do not exist."""
    url = load_settings().database_url
    role, object_id = os.environ["DATABASE_ROLE"], os.environ["DATABASE_ROLE_OBJECT_ID"]
    with connected(url, "postgres") as server:
        quoted = server.dialect.identifier_preparer.quote(role)
        if not server.execute(ROLE_EXISTS, {"role": role}).scalar():
            server.execute(MAKE_ROLE, {"role": role, "object_id": object_id})
        if not server.execute(DATABASE_EXISTS, {"database": DATABASE}).scalar():
            server.execute(text(f"CREATE DATABASE {DATABASE}"))
        server.execute(text(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC"))
        server.execute(text(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {DATABASE} TO {quoted}"))
    with connected(url, DATABASE) as postern:
        postern.execute(text(f"GRANT USAGE, CREATE ON SCHEMA public TO {quoted}"))
    print(f"The database {DATABASE} exists, and the role {role} may make its tables.")


if __name__ == "__main__":
    main()
