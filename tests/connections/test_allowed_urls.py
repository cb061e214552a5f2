"""Where the requests of an entry may go, and where never."""

from urllib.parse import quote, unquote, urlsplit

import pytest
from httpx2 import InvalidURL
from hypothesis import example, given, strategies

from postern.connections.allowed_urls import POLL, AllowedUrls
from postern.connections.entry_client import EntryClient
from postern.connections.entry_transport import EntryTransport
from postern.connections.faults import ConnectionFault
from postern.dot_segments import climbs
from postern.http_client import URL, AsyncBaseTransport, Request, Response
from tests.table import table

BASE = "https://crm.example/v1"


class Nowhere(AsyncBaseTransport):
    """A pool that keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def handle_async_request(self, request: Request) -> Response:
        self.sent.append(request)
        return Response(204)


def client(url: str = BASE, *, exact: bool = False) -> EntryClient:
    return EntryClient(EntryTransport("connections.crm", AllowedUrls("connections.crm", URL(url), exact), Nowhere()))


def allowed(url: str, *, base: str = BASE, exact: bool = False, method: str = "GET", poll: bool = False) -> bool:
    """Whether a request as an author writes it passes the check."""
    made = client(base, exact=exact)
    place = AllowedUrls("connections.crm", URL(base), exact)
    try:
        place.check(made.build_request(method, url, extensions={POLL: True} if poll else {}))
    except ConnectionFault as fault:
        assert fault.entry == "connections.crm"
        return False
    return True


@table(
    "url",
    [
        "",
        "/",
        "users",
        "/users",
        "/users/lisa@contoso.example?$select=id&x=../y",
        "/users/100%25",
        "/users/a b/ä/%C3%A4",
        "/drive/root:/a.b/..c/d../...:/content",
        "/people('1;2')",
        "https://crm.example/v1",
        "https://crm.example/v1/users?$skiptoken=X%2F..%2F",
        "https://CRM.example:443/v1/users",
        "/a//b",
        "/projects/group%2Fproject",
        "/queues/%2F/q",
        "/o/a%2fb%2F",
        "/o/a%252Fb",
    ],
)
def test_what_is_at_or_below_the_base_is_allowed(url: str):
    assert allowed(url)


@table(
    "url",
    [
        "https://elsewhere.example/v1/users",
        "http://crm.example/v1/users",
        "https://crm.example:8443/v1/users",
        "https://crm.example.elsewhere.example/v1/users",
        "https://crm.example@elsewhere.example/v1/users",
        "https://lisa:secret@crm.example/v1/users",
        "https://crm.example",
        "https://crm.example/",
        "https://crm.example/v10",
        "https://crm.example/v10/users",
        "https://crm.example/V1/users",
        "https://crm.example/v1%2Fusers",
        "https://crm.example//v1/users",
        "https://crm.example/v1//users",
        "//elsewhere.example/users",
        "\\\\elsewhere.example\\users",
        "..",
        "../v2",
        "/../v2/users",
        "/users/../groups",
        "/users/./groups",
        "/users/..?x",
        "/%2e%2e/v2",
        "/%2E%2e/v2",
        "/.%2e/v2",
        "/users%2f..%2f..%2fv2",
        "/users%2F..",
        "/users/..%2Fx",
        "/users%2F.%2Fx",
        "/users%2F..;x=1%2Fv2",
        "/users%2F%252e%252e%2Fv2",
        "/users%252F..%252Fv2",
        "/users%5c..",
        "/users\\..\\..",
        "/%252e%252e/v2",
        "/%25252e%25252E/v2",
        "/users%252f..",
        "/%2%65%2%65/v2",
        "/..;/v2",
        "/..;x=1/v2",
        "/..%3b/v2",
        "/%20../v2",
        "/users/%00",
        "/users/%0d%0aHost:%20elsewhere.example",
        "/%c0%ae%c0%ae/v2",
    ],
)
def test_what_is_elsewhere_or_climbs_is_rejected(url: str):
    assert not allowed(url)


@pytest.mark.parametrize("path", ["/projects/group%2Fproject", "/queues/%2F/q", "/o/a%2fb", "/%40scope%2Fname"])
def test_an_encoded_slash_is_sent_as_it_was_written(path: str):
    assert client().build_request("GET", path).url.raw_path == b"/v1" + path.encode()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("/x", "https://crm.example"),
        ("", "https://crm.example/"),
        ("/x", "https://crm.example/v1/"),
        ("/x", "http://127.0.0.1:1"),
    ],
)
def test_a_base_may_end_with_a_slash_or_be_an_origin(url: str, base: str):
    assert allowed(url, base=base)


@pytest.mark.parametrize(
    "url", ["http://crm.example/v1", "http://127.0.0.1.elsewhere.example", "http://10.0.0.7", "ftp://x/"]
)
def test_plain_http_is_for_loopback_only(url: str):
    with pytest.raises(ConnectionFault, match=r"connections.crm is plain http\. Write https"):
        AllowedUrls("connections.crm", URL(url))


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "trace"])
def test_methods_that_tunnel_or_repeat_the_credential_are_rejected(method: str):
    assert not allowed("/x", method=method)


@pytest.mark.parametrize("host", ["elsewhere.example", "crm.example:8443", ""])
def test_a_host_header_of_another_server_is_rejected(host: str):
    place = AllowedUrls("connections.crm", URL(BASE))
    with pytest.raises(ConnectionFault, match="Leave out the Host header"):
        place.check(client().build_request("GET", "/x", headers={"Host": host}))


def test_two_host_headers_are_rejected():
    request = client().build_request("GET", "/x", headers=[("Host", "crm.example"), ("host", "elsewhere.example")])
    with pytest.raises(ConnectionFault, match="Leave out the Host header"):
        AllowedUrls("connections.crm", URL(BASE)).check(request)


FLOW = "https://flows.example/workflows/7/invoke?api-version=1&sig=marker"


@pytest.mark.parametrize("url", ["", FLOW, "https://flows.example/workflows/7/invoke"])
def test_an_exact_address_is_allowed(url: str):
    assert allowed(url, base=FLOW, exact=True, method="POST")


@pytest.mark.parametrize(
    "url",
    [
        "/x",
        "https://flows.example/workflows/7/invoke/",
        "https://flows.example/workflows/8/invoke",
        "https://elsewhere.example/workflows/7/invoke",
    ],
)
def test_nothing_else_is_allowed_where_the_address_is_exact(url: str):
    assert not allowed(url, base=FLOW, exact=True, method="POST")
    assert not allowed(url, base=FLOW, exact=True)


def test_a_result_is_requested_at_the_same_origin_and_by_get_only():
    result = "https://flows.example/runs/9?sig=other"
    assert allowed(result, base=FLOW, exact=True, poll=True)
    assert not allowed(result, base=FLOW, exact=True, poll=True, method="POST")
    assert not allowed("https://elsewhere.example/runs/9", base=FLOW, exact=True, poll=True)
    assert not allowed("/../x", base=BASE, poll=True)


def test_what_is_said_of_an_exact_address_holds_no_signature():
    place = AllowedUrls("triggers.flow", URL(FLOW), exact=True)
    with pytest.raises(ConnectionFault) as caught:
        place.check(client(FLOW, exact=True).build_request("GET", "https://elsewhere.example/"))
    assert "marker" not in str(caught.value) + repr(place)
    assert str(caught.value).startswith("triggers.flow is for https://flows.example only.")


DOTS = ["..", ".", "%2e", "%2E", "%252e", "2e", "%c0%ae"]
SEPARATORS = ["/", "//", "\\", "%2f", "%5c", "%252f", "%25", ";", "%3b", "?", "#", "@", ":", "%", "%20", "%00"]
NAMES = ["v1", "v10", "users", "ä", "https://crm.example", "https:", "elsewhere.example", "crm.example"]
pieces = strategies.sampled_from([*DOTS, *SEPARATORS, *NAMES])


@given(strategies.lists(pieces, max_size=9).map("".join))
@example("https://crm.example/v1/../v10/%2e%2e/x")
@example("/%2%65%2%65/v2")
def test_nothing_outside_of_the_base_is_ever_sent(url: str):
    """However it is put together: what passes is at the origin, and, decoded as often as one likes, resolves to a path
    at or below the base."""
    made = client()
    try:
        request = made.build_request("GET", url)
        AllowedUrls("connections.crm", URL(BASE)).check(request)
    except (ConnectionFault, InvalidURL):
        return
    assert (request.url.scheme, request.url.netloc, request.url.userinfo) == ("https", b"crm.example", b"")
    path = request.url.raw_path.partition(b"?")[0].decode()
    for _ in range(6):
        assert resolved(path)[:1] == ["v1"], path
        path = unquote(path.replace("\\", "/"), errors="replace")


@given(strategies.text(alphabet="ab./%;2ef5c \\", max_size=12))
def test_what_a_server_could_read_as_a_way_up_is_rejected(text: str):
    path = "/" + quote(text, safe="/%;\\ ")
    if climbs(path.encode()):
        return
    for _ in range(6):
        assert ".." not in [
            segment.partition(";")[0].strip() for segment in urlsplit(path).path.replace("\\", "/").split("/")
        ]
        path = unquote(path)


def resolved(path: str) -> list[str]:
    """The segments of a path once dots are followed, as generously as any server does."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        name = segment.partition(";")[0].strip()
        if name == "..":
            segments = segments[:-1]
        elif name != ".":
            segments.append(segment)
    return segments
