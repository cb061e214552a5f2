"""Sessions without a server: what requests of strangers may do to the journal, and whose sessions count."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from starlette.requests import Request
from structlog import get_logger

from postern.access import Refused
from postern.browser_secrets import hash_of, new_secret
from postern.console.cookies import cookies_at
from postern.console.frame import Frame
from postern.console.limits import OF_ADDRESS
from postern.console.sessions import Sessions
from postern.console.sign_in import KIND, SignIn
from postern.errors import Problem
from postern.identity import Person
from postern.journal import authorizations, sessions
from postern.journal.authorizations import Authorization
from postern.journal.revocations import Kind, Rule
from postern.journal.sessions import Ends, Session
from postern.journal.shares import Holder
from postern.security.revocation.revocations import Revocations
from postern.settings.installation import Installation
from tests.console.consoles import AT_HTTPS
from tests.journal.engines import empty_journal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TENANT, OTHER = "8f6a5b0e-3c1d-4f7a-9b2e-1d0c5a7e9f31", "0b4a2c8d-7e6f-4a1b-8c9d-2e3f4a5b6c7d"
PERSON = "fda52ac9-24fd-49e8-993d-37e9b11b2963"
SESSION, AUTHORIZATION = cookies_at(AT_HTTPS).session, cookies_at(AT_HTTPS).authorization


@dataclass
class Journal:
    """A journal that notes each write, and whose share of the readers each read took."""

    engine: Engine
    written: list[Any] = field(default_factory=list)
    readers: list[Holder] = field(default_factory=list)

    async def read(self, query: Callable[[Connection], Any], holder: Holder, /) -> Any:
        self.readers.append(holder)
        with self.engine.connect() as connection:
            return query(connection)

    async def write(self, operation: Callable[[Connection], Any], /) -> Any:
        self.written.append(operation)
        with self.engine.begin() as connection:
            return operation(connection)

    def sessions(self, tenant_id: str = TENANT) -> Sessions:
        installation = Installation(tenant_id=tenant_id, client_id=OTHER)
        return Sessions(cookies_at(AT_HTTPS), self.read, self.write, self.written.append, installation, Ends())

    def sign_in(self) -> SignIn:
        entra: Any = None  # it is not reached
        return SignIn(Frame(AT_HTTPS, "v", "n"), self.sessions(), entra, self.write, get_logger())

    def add(self, operation: Callable[[Connection], object]) -> None:
        with self.engine.begin() as connection:
            operation(connection)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    engine = empty_journal(f"sqlite:///{tmp_path / 'postern.db'}")
    yield Journal(engine)
    engine.dispose()


def request(method: str, path: str, cookie: str, query: str = "") -> Request:
    return Request(
        {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"cookie", cookie.encode())],
            "client": ("192.0.2.7", 50_000),
        }
    )


@pytest.mark.parametrize("what", ["image", "script", "iframe", "empty", "", "Document"])
async def test_a_picture_or_frame_of_another_site_starts_no_sign_in(journal: Journal, what: str):
    """It would use up the ten starts of the person's address, one of which writes and leads to Entra."""
    loaded = request("GET", "/console/sign-in", "a=b")
    loaded.scope["headers"].append((b"sec-fetch-dest", what.encode()))
    sign_in = journal.sign_in()
    for _ in range(OF_ADDRESS):
        with pytest.raises(Problem, match="did not come from a page"):
            await sign_in.start(loaded, "r1")
    assert journal.written == []
    assert sign_in.starts.admit("192.0.2.7", 0.0)


async def test_a_callback_of_a_state_that_nobody_began_writes_nothing(journal: Journal):
    """The writer is also that of the runs, and such requests are not counted as starts are."""
    arrived = request("GET", "/console/callback", f"{AUTHORIZATION}={new_secret()}", f"state={new_secret()}&code=x")
    with pytest.raises(Refused):
        await journal.sign_in().callback(arrived, "r1")
    assert journal.written == []
    assert journal.readers == [("anonymous", "192.0.2.7")]


async def test_a_callback_that_is_repeated_writes_nothing(journal: Journal):
    state, browser = new_secret(), new_secret()
    begun = Authorization(hash_of(state), hash_of(browser), KIND, "/console", time.time())
    journal.add(lambda connection: authorizations.begin(connection, begun))
    arrived = request("GET", "/console/callback", f"{AUTHORIZATION}={browser}", f"state={state}&error=access_denied")
    with pytest.raises(Problem, match="You did not sign in"):
        await journal.sign_in().callback(arrived, "r1")
    assert len(journal.written) == 1
    with pytest.raises(Refused):
        await journal.sign_in().callback(arrived, "r2")
    assert len(journal.written) == 1


async def test_signing_out_without_a_session_writes_nothing(journal: Journal):
    answer = await journal.sign_in().sign_out(request("POST", "/console/sign-out", f"{SESSION}={new_secret()}"), "r1")
    assert answer.status == 303
    assert journal.written == []


def session_of(tenant_id: str, secret: str) -> Session:
    now = time.time()
    return Session(hash_of(secret), tenant_id, PERSON, "Lisa", frozenset(), "192.0.2.7", now, now)


async def test_the_use_of_a_session_is_queued_once_in_a_while_also_while_nothing_can_be_written(journal: Journal):
    secret = new_secret()
    idle = replace(session_of(TENANT, secret), seen_at=time.time() - 100)
    journal.add(lambda connection: sessions.begin(connection, idle))
    people = journal.sessions()
    for _ in range(5):
        assert await people.viewer(request("GET", "/console", f"{SESSION}={secret}")) is not None
    assert len(journal.written) == 1
    later = replace(people, now=lambda: time.time() + 100)
    assert await later.viewer(request("GET", "/console", f"{SESSION}={secret}")) is not None
    assert len(journal.written) == 2


async def test_signing_out_ends_the_session(journal: Journal):
    secret = new_secret()
    journal.add(lambda connection: sessions.begin(connection, session_of(TENANT, secret)))
    arrived = request("POST", "/console/sign-out", f"{SESSION}={secret}")
    await journal.sign_in().sign_out(arrived, "r1")
    assert await journal.sessions().viewer(arrived) is None


async def test_an_address_that_a_proxy_passes_on_is_kept_as_a_short_line(journal: Journal):
    arrived = request("GET", "/console/callback", "a=b")
    arrived.scope["client"] = ("\u202e\n" + "x" * 5000, 0)
    people = journal.sessions()
    secret = await people.begin(Person(TENANT, PERSON, "Lisa", frozenset()), arrived)
    viewer = await people.viewer(request("GET", "/console", f"{SESSION}={secret}"))
    assert viewer is not None
    assert viewer.session.address == ("\\u202e\\x0a" + "x" * 5000)[:45]


async def test_a_session_of_a_tenant_that_the_settings_no_longer_name_is_none(journal: Journal):
    secret = new_secret()
    journal.add(lambda connection: sessions.begin(connection, session_of(OTHER, secret)))
    arrived = request("GET", "/console", f"{SESSION}={secret}")
    assert await journal.sessions(OTHER).viewer(arrived) is not None
    assert await journal.sessions(TENANT).viewer(arrived) is None


@pytest.mark.parametrize(("begun", "lives"), [(-1.0, False), (0.0, False), (299.0, False), (300.0, True)])
async def test_a_session_ends_with_the_access_of_its_person(journal: Journal, begun: float, lives: bool):
    """Also one that was just being stored. Entra dates the ID token of a sign-in five minutes back."""
    secret, ended = new_secret(), time.time()
    revocations = Revocations(clock=lambda: 0.0)
    revocations.apply([Rule(Kind.CALLER, TENANT, PERSON, ended)], 0.0)
    session = replace(session_of(TENANT, secret), created_at=ended + begun)
    journal.add(lambda connection: sessions.begin(connection, session))
    people = replace(journal.sessions(), revocations=revocations)
    found = await people.viewer(request("GET", "/console", f"{SESSION}={secret}"))
    assert (found is not None) is lives


async def test_while_it_is_not_known_whose_access_has_ended_nobody_is_signed_in(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("postern.security.revocation.revocations.FIRST_READ", 0.0)
    secret = new_secret()
    journal.add(lambda connection: sessions.begin(connection, session_of(TENANT, secret)))
    people = replace(journal.sessions(), revocations=Revocations())
    with pytest.raises(Problem) as caught:
        await people.viewer(request("GET", "/console", f"{SESSION}={secret}"))
    assert caught.value.code == "revocations-unavailable"
