"""What the rows of gateway.toml allow."""

from typing import Any

import pytest

from postern.gateway.agent.allowed import Denied, Target, row_of, target_of
from postern.gateway.agent.rows import Row
from postern.gateway.reasons import Reason
from tests.table import table

ROWS = (
    Row(address="ERP.madrid.corp.:443"),
    Row(address="[FD12:0::7]:8443"),
    Row(address="stock.madrid.corp:8080", scheme="http", methods=["GET"], paths=["/items", "/caf%c3%a9/"]),
    Row(address="stock.madrid.corp:8080", scheme="http", methods=["POST"], paths=["/orders"]),
    Row(address="both.corp:443"),
    Row(address="both.corp:443", scheme="https", methods=["GET"], paths=["/"]),
    Row(address="localhost:8000"),
)
STOCK = "stock.madrid.corp:8080"


def target(authority: str, *, ends_tls: bool = False) -> Target | Denied:
    return target_of(ROWS, authority, ends_tls=ends_tls)


@table("authority", ["erp.madrid.corp:443", "ERP.Madrid.Corp:443", "erp.madrid.corp.:443", "[fd12::7]:8443"])
def test_a_target_of_a_row_is_allowed_in_each_form_of_its_name(authority: str):
    found = target(authority)
    assert isinstance(found, Target)
    assert found.scheme is None
    assert not found.loopback or found.host == "fd12::7"


@table(
    "authority",
    [
        "erp.madrid.corp:444",
        "erp.madrid.corp",
        "erp.madrid.corp:",
        "erp.madrid.corp:0",
        "erp.madrid.corp:70000",
        "erp.madrid.corp:+443",
        "erp.madrid.corp:٤٤٣",
        "x.erp.madrid.corp:443",
        "madrid.corp:443",
        "user@erp.madrid.corp:443",
        "erp.madrid.corp:443/",
        "erp.madrid.corp:443:443",
        "fd12::7:8443",
        "[fd12::8]:8443",
        "127.0.0.1:8000",
        "*:443",
        ":443",
        "",
    ],
)
def test_all_other_targets_are_not_allowed(authority: str):
    found = target(authority)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TARGET_NOT_ALLOWED


def test_without_rows_nothing_is_allowed():
    assert isinstance(target_of((), "erp.madrid.corp:443", ends_tls=False), Denied)


@table(
    "authority, ends_tls, text",
    [
        (STOCK, False, 'its row has a scheme, and so allows no tunnel: write tls = "gateway", or'),
        ("erp.madrid.corp:443", True, "its row has no scheme, and so allows tunnels only"),
        ("new.corp:443", False, 'add [[allow]] with address = "new.corp:443"'),
        ("new.corp:443", True, 'address = "new.corp:443", scheme = "https", methods and paths'),
    ],
)
def test_a_row_serves_tunnels_or_requests_and_the_text_says_what_to_write(authority: str, ends_tls: bool, text: str):
    found = target(authority, ends_tls=ends_tls)
    assert isinstance(found, Denied)
    assert text in found.text


def test_a_host_may_have_rows_of_both_kinds():
    tunnel, read = target("both.corp:443"), target("both.corp:443", ends_tls=True)
    assert isinstance(tunnel, Target)
    assert isinstance(read, Target)
    assert (tunnel.scheme, read.scheme) == (None, "https")


def request(method: str, path: bytes) -> Row | Denied:
    found = target(STOCK, ends_tls=True)
    assert isinstance(found, Target)
    return row_of(found, method, path)


@table(
    "method, path",
    [
        ("GET", b"/items"),
        ("GET", b"/items/"),
        ("GET", b"/items/7?full=yes&at=/../x"),
        ("GET", b"/%69tems/7"),
        ("GET", b"/items/a%2Fb"),
        ("GET", b"/caf%C3%A9"),
        ("GET", b"/caf%c3%a9/1"),
        ("POST", b"/orders"),
    ],
)
def test_a_request_of_a_row_is_allowed(method: str, path: bytes):
    assert isinstance(request(method, path), Row)


@table(
    "method, path",
    [
        ("POST", b"/items"),
        ("GET", b"/orders"),
        ("get", b"/items"),
        ("DELETE", b"/items"),
        ("GET", b"/"),
        ("GET", b""),
        ("GET", b"*"),
        ("GET", b"/Items"),
        ("GET", b"/itemsx"),
        ("GET", b"/items%2fx"),
        ("GET", b"/items%2e"),
        ("GET", b"//items"),
        ("GET", b"/items/../admin"),
        ("GET", b"/items/%2e%2e/admin"),
        ("GET", b"/items/%252E%252e/admin"),
        ("GET", b"/items/..;x/admin"),
        ("GET", b"/items/..%2fadmin"),
        ("GET", b"/items\\..\\admin"),
        ("GET", b"/items/%5c..%5cadmin"),
        ("GET", b"/items/%c0%ae%c0%ae/admin"),
        ("GET", b"/items/%00"),
        ("GET", b"/items#x"),
        ("GET", b"/items x"),
        ("GET", b"/items\xff"),
        ("GET", b"http://stock.madrid.corp:8080/items"),
        ("GET", b"/x/../items"),
    ],
)
def test_all_other_requests_are_not_allowed(method: str, path: bytes):
    found = request(method, path)
    assert isinstance(found, Denied)
    assert found.reason is Reason.REQUEST_NOT_ALLOWED


def test_a_row_for_all_paths_still_allows_no_way_up():
    found = target("both.corp:443", ends_tls=True)
    assert isinstance(found, Target)
    assert isinstance(row_of(found, "GET", b"/any/thing"), Row)
    assert isinstance(row_of(found, "GET", b"/any/../thing"), Denied)


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"address": "erp.corp"}, "has no port"),
    ({"address": "https://erp.corp:443"}, "is a URL"),
    ({"address": "*.corp:443"}, "hosts are exact"),
    ({"address": "münchen.corp:443"}, "DNS does not carry"),
    ({"address": "erp.corp:0"}, "host and a port"),
    ({"address": "erp.corp:65536"}, "host and a port"),
    ({"address": "0x7f.1:80"}, "usual form"),
    ({"address": "127.1:80"}, "usual form"),
    ({"address": "2130706433:80"}, "usual form"),
    ({"address": "[10.0.0.7]:80"}, "brackets"),
    ({"address": "fd12::7:80"}, "host and a port"),
    ({"address": "169.254.169.254:80"}, "link-local"),
    ({"address": "[::ffff:168.63.129.16]:80"}, "cloud's host"),
    ({"address": "0.0.0.0:80"}, "unspecified"),
    ({"address": "a.corp:80", "methods": ["GET"]}, "without a scheme"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["GET"]}, "without paths"),
    ({"address": "a.corp:80", "scheme": "http", "paths": ["/"]}, "without methods"),
    ({"address": "a.corp:80", "scheme": "ftp", "methods": ["GET"], "paths": ["/"]}, "http"),
    ({"address": "a.corp:80", "scheme": "http", "methods": [], "paths": ["/"]}, "is empty"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["get"], "paths": ["/"]}, "is not a method"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["CONNECT"], "paths": ["/"]}, "never allowed"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["GET"], "paths": ["items"]}, "is not a path"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["GET"], "paths": ["/a?b"]}, "is not a path"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["GET"], "paths": ["/a/*"]}, "has a *"),
    ({"address": "a.corp:80", "scheme": "http", "methods": ["GET"], "paths": ["/a/../b"]}, "parent folder"),
    ({"address": "a.corp:80", "scheme": "http", "methods": "GET", "paths": ["/"]}, "is not a list"),
    ({"address": "a.corp:80", "wildcard": True}, "Extra inputs"),
]


@table("row, text", FAULTY)
def test_a_faulty_row_says_what_is_wrong(row: dict[str, Any], text: str):
    with pytest.raises(ValueError, match="validation error") as caught:
        Row(**row)
    assert text in str(caught.value)
