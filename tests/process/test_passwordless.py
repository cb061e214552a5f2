"""PostgreSQL with a token of Entra in place of a password: a real server, and azure-identity's real client."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jwt
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError

from postern.errors import DatabaseFault
from postern.journal.database.engine import open_engine
from postern.journal.writing.writer import Start
from postern.local_tenant.server import serve_identity
from postern.passwordless import entra_sign_in
from postern.passwordless.database_url import DatabaseUrl, Passwordless
from postern.passwordless.entra_sign_in import FORGET_SECONDS, SignInFailed, Tokens, settled
from tests.process.identity_endpoint import IdentityEndpoint, identity_endpoint
from tests.process.postgres import own_postgres
from tests.process.servers import grams, leaked, running, until

ROLE = "postern@tenant.example"
FIRST, SECOND = "the-first-of-the-tokens-4b1d", "the-second-of-the-tokens-9c7e"
HOW = Passwordless("managed_identity", "public")
HELLO = """
from postern import anonymous, workflow

@workflow(access=anonymous())
async def hello(ctx):
    return "hello"
"""


@dataclass
class Database:
    """A database with one role, whose password is the token that the server would take."""

    admin: str
    url: str

    def takes(self, token: str) -> None:
        """From now on this one, and no other."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ROLE), sql.Literal(token)))


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """As Azure's server does it, the role signs in with its password as it is, over a connection that is trusted."""
    with own_postgres() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(ROLE)))
            connection.execute(sql.SQL("CREATE DATABASE postern OWNER {}").format(sql.Identifier(ROLE)))
            found = connection.execute("SHOW hba_file").fetchone()
            assert found is not None
            rules = Path(found[0])
            rules.write_text(f'local all "{ROLE}" password\n{rules.read_text("utf-8")}', "utf-8")
            connection.execute("SELECT pg_reload_conf()")
        url = make_url(server.url).set(username=ROLE, password=None, database="postern")
        received = url.update_query_dict({"passwordless": "entra"})
        yield Database(server.url, received.render_as_string(hide_password=False))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    """The endpoint of the machine's identity, in this process' environment."""
    with identity_endpoint(FIRST) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_CLIENT_ID", "5d0e8a7b-31f4-4c7e-9a35-c2b8d7e61f90")
        yield made


@pytest.fixture
def engine(database: Database, endpoint: IdentityEndpoint) -> Iterator[Engine]:
    made = open_engine(DatabaseUrl(database.url, HOW), writing=False)
    yield made
    made.dispose()


def who(engine: Engine) -> str:
    """The role of a connection that is made for this."""
    engine.dispose()
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT current_user")).scalar_one())


def refusal(engine: Engine) -> SignInFailed:
    with pytest.raises(OperationalError) as caught:
        who(engine)
    assert isinstance(caught.value.orig, SignInFailed)
    return caught.value.orig


def test_a_connection_signs_in_with_the_token_of_the_machines_identity(database, endpoint, engine):
    """One request, for the database's audience and the identity of AZURE_CLIENT_ID, serves several connections."""
    database.takes(FIRST)
    assert (who(engine), who(engine)) == (ROLE, ROLE)
    (received,) = endpoint.received
    assert received["resource"] == ["https://ossrdbms-aad.database.windows.net"]
    assert received["client_id"] == [os.environ["AZURE_CLIENT_ID"]]
    assert FIRST not in repr(engine) + repr(engine.url) + repr(HOW)


def test_a_token_that_is_rejected_is_requested_again(database, endpoint, engine, monkeypatch):
    """And the next connection has the new one."""
    monkeypatch.setattr(entra_sign_in, "FORGET_SECONDS", 0)
    database.takes(FIRST)
    assert who(engine) == ROLE
    database.takes(SECOND)
    endpoint.token = SECOND
    assert FIRST not in refusal(engine).advice
    assert who(engine) == ROLE


def test_a_token_that_is_rejected_again_and_again_is_seldom_requested(database, endpoint, engine):
    database.takes(SECOND)
    for _ in range(5):
        assert "POSTERN_AZURE_CREDENTIAL=managed_identity" in refusal(engine).advice
    assert len(endpoint.received) == 1


def test_the_time_between_two_tokens_is_counted_from_the_first(database, endpoint):
    """By a clock that the test moves."""
    now = [100.0]
    tokens = Tokens(HOW, clock=lambda: now[0])

    def attempt() -> int:
        with pytest.raises(SignInFailed):
            tokens.connect(partial(psycopg.connect, database.admin, user=ROLE), {})
        return len(endpoint.received)

    database.takes(SECOND)
    assert [attempt(), attempt()] == [1, 1]
    now[0] += FORGET_SECONDS
    assert [attempt(), attempt(), attempt()] == [1, 2, 2]


def test_without_a_token_no_client_connects_until_there_is_one(database, endpoint, engine):
    """What is said has the kind of the fault, not what the endpoint answered."""
    database.takes(FIRST)
    endpoint.token = ""
    advice = refusal(engine).advice
    assert "POSTERN_DATABASE_URL: no token" in advice
    assert "500" not in advice
    endpoint.token = FIRST
    assert who(engine) == ROLE


def test_a_server_that_is_unavailable_is_no_rejected_token(endpoint, tmp_path):
    url = f"postgresql://x@/postern?host={tmp_path}&passwordless=entra"
    away = open_engine(DatabaseUrl(url, HOW), writing=False)
    with pytest.raises(OperationalError) as caught:
        away.connect()
    assert not isinstance(caught.value.orig, SignInFailed)
    assert FIRST not in str(caught.value)


def test_a_server_says_what_is_wrong_and_records_runs_when_it_is_fixed(database, endpoint, tmp_path):
    """The writer's process included. The token is in no output and no argument of a process."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "hello.py").write_text(HELLO, "utf-8")
    database.takes(SECOND)
    environ = {
        **endpoint.variables,
        "POSTERN_DATABASE_URL": database.url,
        "POSTERN_AZURE_CREDENTIAL": "managed_identity",
        "POSTERN_PORT": "0",
    }
    with running("serve", tmp_path, environ) as server:
        line = server.says(r".*journal-write-failed.*")
        assert "SignInFailed" in line
        assert "POSTERN_DATABASE_URL: the server rejected the token" in line
        assert server.client.get("/readyz").status_code == 503
        database.takes(FIRST)
        assert server.answers("hello", 200).headers["x-run-id"]
        until(lambda: server.client.get("/readyz").status_code == 200)
        arguments = [path.read_text("utf-8", "replace") for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert server.stop() == 0
    assert not leaked(grams(FIRST, SECOND), server.output + "".join(arguments))


def test_the_local_tenants_identity_gets_a_token_for_databases(local_tenant, monkeypatch):
    """By the same client as in Azure; the user name is not looked for in the token."""
    passwords: list[str] = []
    with serve_identity(local_tenant) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        Tokens(HOW).connect(lambda **parameters: passwords.append(parameters["password"]), {"user": ROLE})
    claims = jwt.decode(passwords[0], options={"verify_signature": False})
    assert claims["aud"] == "https://ossrdbms-aad.database.windows.net"


def test_what_goes_to_the_writer_shows_no_url():
    assert "secret" not in repr(Start(DatabaseUrl("postgresql://secret@h/d", HOW), "node"))


def test_libpq_gets_the_authorities_to_trust(tmp_path):
    """It knows no authorities by itself; those that the URL names win."""
    assert settled({"sslmode": "verify-full"}, tmp_path)["sslrootcert"] == str(tmp_path)
    assert Path(settled({"sslmode": "verify-full"}, None)["sslrootcert"]).is_file()
    assert "sslrootcert" not in settled({"sslmode": "verify-full", "sslrootcert": "mine.pem"}, tmp_path)
    assert settled({}, tmp_path) == {"gssencmode": "disable"}


def test_a_server_that_tls_does_not_name_gets_no_token(database, endpoint, tmp_path):
    """PostgreSQL without TLS: `verify-full` ends the attempt before a password is sent."""
    port = make_url(database.admin).port
    url = (
        f"postgresql://{ROLE.replace('@', '%40')}@127.0.0.1:{port or 1}/postern?sslmode=verify-full&passwordless=entra"
    )
    engine = open_engine(DatabaseUrl(url, HOW), writing=False)
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    assert not isinstance(caught.value.orig, SignInFailed)


@pytest.mark.parametrize(
    ("kind", "named"), [("client_secret", "AZURE_CLIENT_SECRET"), ("workload_identity", "TOKEN_FILE")]
)
def test_a_variable_that_the_credential_needs_is_named(database, monkeypatch, kind, named):
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DatabaseFault, match=named):
        open_engine(DatabaseUrl(database.url, Passwordless(kind, "public")), writing=True)


def test_an_engine_that_does_not_know_how_to_sign_in_is_not_opened(database):
    with pytest.raises(DatabaseFault, match="no other sign-in is configured"):
        open_engine(database.url, writing=False)


def test_a_missing_package_is_named_with_what_installs_it(database, monkeypatch):
    monkeypatch.delitem(sys.modules, "postern.passwordless.entra_sign_in")
    monkeypatch.setitem(sys.modules, "azure_postgresql_auth.core", None)
    with pytest.raises(DatabaseFault, match=r"azure_postgresql_auth.*postern\[postgres\]"):
        open_engine(DatabaseUrl(database.url, HOW), writing=False)
