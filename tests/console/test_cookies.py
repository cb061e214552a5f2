"""The console's cookies: their names and attributes, and what is read of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern.console.cookies import cookies_at, secret_in
from tests.table import table

SECRET, OTHER = "A" * 43, "Q" * 43
"""They have the form of secrets, and are the same in each process: ids of tests have them."""
NAME = "__Host-postern-session"


@pytest.mark.parametrize(
    ("address", "name", "attributes"),
    [
        ("https://postern.example", NAME, "Path=/; HttpOnly; SameSite=Lax; Secure"),
        ("https://postern.example/base", NAME, "Path=/; HttpOnly; SameSite=Lax; Secure"),
        ("https://127.0.0.1:8443", NAME, "Path=/; HttpOnly; SameSite=Lax; Secure"),
        ("http://127.0.0.1:8081", "postern-session-8081", "Path=/; HttpOnly; SameSite=Lax"),
        ("http://localhost", "postern-session-80", "Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_over_https_a_cookie_is_bound_to_the_host_and_on_loopback_its_name_has_the_port(
    address: str, name: str, attributes: str
):
    cookies = cookies_at(address)
    assert cookies.set_session(SECRET) == (b"set-cookie", f"{name}={SECRET}; {attributes}".encode())
    assert cookies.clear_session() == (b"set-cookie", f"{name}=; {attributes}; Max-Age=0".encode())
    named = name.replace("session", "authorization")
    assert cookies.set_authorization(SECRET) == (
        b"set-cookie",
        f"{named}={SECRET}; {attributes}; Max-Age=600".encode(),
    )


@table(
    ("sent", "found"),
    [
        ([f"{NAME}={SECRET}"], SECRET),
        ([f"a=b; {NAME}={SECRET}; c=d"], SECRET),
        (["a=b", f"{NAME}={SECRET}"], SECRET),
        ([], ""),
        ([f"{NAME}="], ""),
        ([f"{NAME}={SECRET[:-1]}"], ""),
        ([f"{NAME}={SECRET}="], ""),
        ([f'{NAME}="{SECRET}"'], ""),
        ([f"x{NAME}={SECRET}"], ""),
        ([f"{NAME.lower()}={SECRET}"], ""),
        ([f"{NAME}={SECRET}; {NAME}={OTHER}"], ""),
        ([f"{NAME}={SECRET}", f"{NAME}={SECRET}"], ""),
        ([f"{NAME}={SECRET}; {NAME}="], ""),
    ],
)
def test_only_one_well_formed_secret_under_the_exact_name_is_taken(sent: list[str], found: str):
    assert secret_in([(b"cookie", each.encode()) for each in sent], NAME) == found


SPACES = [bytes([code]) for code in range(256) if code not in b" \t;=,"] + [b"\xc2\x85", b"\xe2\x80\x80"]


def test_a_name_with_a_space_that_only_python_strips_is_another_name():
    """A browser does not see the prefix `__Host-` in it, so any subdomain could plant the session of somebody else."""
    name, secret, own = NAME.encode(), SECRET.encode(), f"{NAME}={OTHER}".encode()
    for space in SPACES:
        for planted in (space + name + b"=" + secret, name + space + b"=" + secret):
            assert secret_in([(b"cookie", planted)], NAME) == "", space
            assert secret_in([(b"cookie", planted + b"; " + own)], NAME) == OTHER, space
        assert secret_in([(b"cookie", name + b"=" + secret + space)], NAME) == "", space


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"authorization", b"x"]), st.binary(max_size=80))))
def test_any_headers_have_a_secret_or_none(headers: list[tuple[bytes, bytes]]):
    found = secret_in(headers, NAME)
    assert found == "" or len(found) == 43
