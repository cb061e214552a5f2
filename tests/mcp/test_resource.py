"""`/mcp` as a protected resource, its origins, and the request that a call becomes: pure decisions as tables."""

from typing import Any

from postern.mcp.origin import foreign_origin
from postern.mcp.resource import Resource
from postern.mcp.session import via_of
from tests.table import table

HERE = "https://postern.test"
ISSUER = "https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/v2.0"
MORE = f'resource_metadata="{HERE}/.well-known/oauth-protected-resource/mcp", scope="{HERE}/mcp/.default"'


@table(
    ("challenge", "challenged"),
    [
        ("Bearer", f"Bearer {MORE}"),
        ('Bearer error="invalid_token"', f'Bearer error="invalid_token", {MORE}'),
        ('Bearer error="insufficient_scope", scope="a b"', f'Bearer error="insufficient_scope", {MORE}'),
        ('Bearer realm="", claims="e30="', f'Bearer realm="", claims="e30=", {MORE}'),
        ("Signature", "Signature"),
    ],
)
def test_a_challenge_names_the_metadata_and_the_scope_once(challenge: str, challenged: str):
    headers = [(b"www-authenticate", challenge.encode()), (b"content-type", b"application/json")]
    found = Resource(HERE, (ISSUER,)).challenged(headers)
    assert found == [(b"www-authenticate", challenged.encode()), headers[1]]


def test_scopes_stand_behind_the_identifier_which_has_no_slash_at_its_end():
    resource = Resource("https://postern.test/here", (ISSUER,), "Tools.Call")
    assert resource.identifier == "https://postern.test/here/mcp"
    assert resource.metadata()["scopes_supported"] == ["https://postern.test/here/mcp/Tools.Call"]
    assert resource.scopes(["A", "B"]) == "https://postern.test/here/mcp/A https://postern.test/here/mcp/B"
    assert resource.metadata_url == "https://postern.test/here/.well-known/oauth-protected-resource/mcp"
    assert (resource.names_scope, Resource(HERE, ()).names_scope) == (True, False)


@table(
    ("origin", "host", "public_url", "foreign"),
    [
        (None, "postern.test", HERE, False),
        (HERE, "postern.test", HERE, False),
        (HERE, "10.0.0.1:8080", HERE, False),
        ("https://postern.test", "", "https://postern.test:443/path", False),
        ("https://postern.test:8443", "", HERE, True),
        ("http://postern.test", "postern.test", HERE, True),
        ("http://postern.test", "postern.test", "", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "", False),
        ("http://[::1]:8080", "[::1]:8080", "", False),
        ("http://localhost:8080", "localhost:8080", HERE, False),
        ("http://localhost:3000", "localhost:8080", HERE, True),
        ("http://localhost", "[", HERE, True),
        ("null", "localhost", HERE, True),
        ("", "localhost", HERE, True),
    ],
)
def test_an_origin_is_own_by_the_public_url_or_on_loopback(origin: Any, host: str, public_url: str, foreign: bool):
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin is not None else [])
    assert bool(foreign_origin(headers, "http", public_url)) == foreign


def test_two_origins_are_foreign():
    assert foreign_origin([(b"origin", HERE.encode())] * 2, "https", HERE)


@table(
    ("client", "name", "version"),
    [
        (None, None, None),
        ({"name": "Claude Code", "version": "2.1"}, "Claude Code", "2.1"),
        ({"name": "x" * 500, "version": 7}, "x" * 100, None),
        ({"name": ""}, None, None),
    ],
)
def test_what_a_client_says_of_itself_is_cut(client: Any, name: Any, version: Any):
    via = via_of(client)
    assert (via.kind, via.client_name, via.client_version) == ("mcp", name, version)
