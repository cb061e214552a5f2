"""Signing: the credential is on the copy that is sent and nowhere else, and a refused one is replaced once."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable

import pytest
from httpx2 import AsyncBaseTransport

from postern.connections.auth.sign_in import SIGN, SignIn, signed
from postern.connections.auth.together import Together
from postern.connections.faults import ConnectionFault
from postern.connections.stage import Stage
from postern.http_client import AsyncClient, HTTPStatusError, Request, Response, TransportError, http_client

pytestmark = pytest.mark.anyio


class Numbered(SignIn):
    """Signs with secret-1; another is secret-2, and so on while there are some."""

    def __init__(self, others: int = 1) -> None:
        self.others = others

    async def credential(self) -> str:
        return "secret-1"

    def sign(self, request: Request, credential: str) -> None:
        request.headers["X-Secret"] = credential

    async def another(self, refused: str) -> str | None:
        return f"secret-{int(refused[-1]) + 1}" if int(refused[-1]) <= self.others else None

    async def try_out(self) -> AsyncIterator[Stage]:
        yield Stage("secret", passed=True)


class Other(AsyncBaseTransport):
    """The other side: it keeps what was sent to it."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self.sent: list[Request] = []

    async def handle_async_request(self, request: Request) -> Response:
        self.sent.append(signed(request))
        return self.answer(self.sent[-1])

    @property
    def secrets(self) -> list[str | None]:
        return [request.headers.get("X-Secret") for request in self.sent]


def client(answer: Callable[[Request], Response], others: int = 1) -> tuple[AsyncClient, Other]:
    other = Other(answer)
    return http_client(base_url="https://x.example", auth=Numbered(others), transport=other), other


async def test_the_request_that_an_author_sees_has_no_credential():
    http, other = client(lambda _: Response(500))
    response = await http.get("/a")
    assert other.secrets == ["secret-1"]
    with pytest.raises(HTTPStatusError) as caught:
        response.raise_for_status()
    request = caught.value.request
    assert "X-Secret" not in request.headers
    assert "secret-1" not in repr(vars(request))
    assert signed(request).headers.get("X-Secret") is None, "its signature is forgotten"


async def test_the_request_of_a_failed_call_has_no_credential():
    def broken(_: Request) -> Response:
        raise TransportError("gone")

    http, _ = client(broken)
    with pytest.raises(TransportError) as caught:
        await http.get("/a")
    assert signed(caught.value.request).headers.get("X-Secret") is None


@pytest.mark.parametrize("location", ["https://elsewhere.example/a", "/b", "http://x.example/a"])
async def test_a_redirect_carries_no_credential(location: str):
    http, other = client(
        lambda request: Response(302, headers={"Location": location}) if len(other.sent) == 1 else Response(200)
    )
    response = await http.get("/a", follow_redirects=True)
    assert other.secrets == ["secret-1", None]
    assert "secret-1" not in repr(vars(response.request))


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_what_is_not_rejected_is_sent_once(status: int):
    http, other = client(lambda _: Response(status))
    assert (await http.get("/a")).status_code == status
    assert other.secrets == ["secret-1"]


async def test_a_rejected_credential_is_replaced_once():
    http, other = client(lambda _: Response(401), others=5)
    response = await http.post("/a", json={"a": 1})
    assert response.status_code == 401
    assert other.secrets == ["secret-1", "secret-2"]
    assert [await request.aread() for request in other.sent] == [b'{"a":1}'] * 2


@pytest.mark.parametrize("to", ["/orders/1", "/orders"])
@pytest.mark.parametrize("status", [303, 307])
async def test_a_rejected_request_that_a_redirect_led_to_repeats_nothing(status: int, to: str):
    """The POST has run, and answered with the address of its result."""
    posts: list[Request] = []

    def answer(request: Request) -> Response:
        if request.method == "POST" and not posts:
            posts.append(request)
            return Response(status, headers={"Location": to})
        return Response(401)

    http, other = client(answer)
    response = await http.post("/orders", json={"a": 1}, follow_redirects=True)
    assert (response.status_code, len(other.sent)) == (401, 2)
    again = await http.post("/orders", json={"a": 2})
    assert (again.status_code, other.secrets[2:]) == (401, ["secret-1", "secret-2"])


class Beside(Numbered):
    """A key that never changes, in another header."""

    def __init__(self) -> None:
        super().__init__(others=0)

    def sign(self, request: Request, credential: str) -> None:
        request.headers["X-Key"] = credential


class Contested(Numbered):
    """Its credential may be replaced three times for one request."""

    replacements = 3

    def __init__(self) -> None:
        super().__init__(others=9)
        self.good: list[str] = []

    def accepted(self, credential: str) -> None:
        self.good.append(credential)


@pytest.mark.parametrize(
    ("good", "status"), [("secret-1", 200), ("secret-3", 200), ("secret-4", 200), ("secret-5", 401)]
)
async def test_a_type_may_replace_its_credential_more_than_once(good: str, status: int):
    other = Other(lambda request: Response(200 if request.headers["X-Secret"] == good else 401))
    sign_in = Contested()
    async with http_client(base_url="https://x.example", auth=sign_in, transport=other) as http:
        assert (await http.get("/a")).status_code == status
    assert len(other.sent) == min(int(good[-1]), 4)
    assert sign_in.good == ([good] if status == 200 else [])


async def test_credentials_together_are_replaced_as_often_as_each_of_them():
    other = Other(lambda request: Response(200 if request.headers["X-Secret"] == "secret-4" else 401))
    token, key = Contested(), Beside()
    async with http_client(base_url="https://x.example", auth=Together([token, key]), transport=other) as http:
        assert (await http.get("/a")).status_code == 200
    assert (len(other.sent), token.good) == (4, ["secret-4"])
    assert [request.headers["X-Key"] for request in other.sent] == ["secret-1"] * 4


async def test_a_rejected_credential_without_another_is_the_answer():
    http, other = client(lambda _: Response(401), others=0)
    assert (await http.get("/a")).status_code == 401
    assert other.secrets == ["secret-1"]


async def test_a_body_that_can_be_read_once_is_sent_once():
    async def parts() -> AsyncIterator[bytes]:
        yield b"x"

    http, other = client(lambda _: Response(401))
    assert (await http.post("/a", content=parts())).status_code == 401
    assert other.secrets == ["secret-1"]


async def test_without_a_credential_nothing_is_sent():
    class Without(Numbered):
        async def credential(self) -> str:
            raise ConnectionFault("connections.x", "has no secret", "Fix it")

    other = Other(lambda _: Response(200))
    with pytest.raises(ConnectionFault):
        await http_client(auth=Without(), transport=other).get("https://x.example")
    assert other.sent == []


def test_an_unsigned_request_is_copied_as_it_is():
    request = Request("POST", "https://x.example/a?b=%2F", content=b"x", extensions={"timeout": {}})
    copy = signed(request)
    assert (copy.url, copy.headers, copy.extensions) == (request.url, request.headers, {"timeout": {}})
    assert SIGN not in copy.extensions


class Meeting(Numbered):
    """Answers a claims challenge, too."""

    def __init__(self, others: int = 9) -> None:
        super().__init__(others)
        self.replacements = 3
        self.met: list[str] = []

    async def answer(self, refused: str, claims: str) -> str | None:
        self.met.append(claims)
        return await self.another(refused)


C1 = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
CHALLENGE = f'Bearer realm="", error="insufficient_claims", claims="{b64encode(C1.encode()).decode()}"'


@pytest.mark.parametrize(
    ("challenges", "secrets", "met"),
    [
        ([CHALLENGE, ""], ["secret-1", "secret-2"], [C1]),
        ([CHALLENGE, CHALLENGE, ""], ["secret-1", "secret-2"], [C1]),
        ([CHALLENGE, "Bearer", ""], ["secret-1", "secret-2"], [C1]),
        (["Bearer", CHALLENGE, ""], ["secret-1", "secret-2", "secret-3"], [C1]),
        (["Bearer", "Bearer", ""], ["secret-1", "secret-2", "secret-3"], []),
        (['Bearer error="insufficient_claims", claims="!"', ""], ["secret-1", "secret-2"], []),
    ],
)
async def test_a_claims_challenge_is_answered_once(challenges: list[str], secrets: list[str], met: list[str]):
    """Each 401 has one of the challenges; "" is a 200."""
    left = iter(challenges)

    def answer(_: Request) -> Response:
        challenge = next(left)
        return Response(401, headers={"WWW-Authenticate": challenge}) if challenge else Response(200)

    other, signing = Other(answer), Meeting()
    async with http_client(base_url="https://x.example", auth=signing, transport=other) as http:
        await http.get("/a")
    assert (other.secrets, signing.met) == (secrets, met)


async def test_of_several_credentials_the_one_that_can_meet_the_claims_does():
    together = Together([meeting := Meeting(), Numbered(0)])
    assert await together.answer(await together.credential(), C1) == '["secret-2", "secret-1"]'
    assert meeting.met == [C1]
    assert await Together([Numbered(0)]).answer('["secret-1"]', C1) is None
