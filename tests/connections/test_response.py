"""The error of a reply repeats nothing that the other side wrote."""

import pytest

from postern.connections.response import Answer
from postern.http_client import HTTPStatusError, Request

REQUEST = Request("GET", "https://orders.example/v2/open?customer=ada")


def answer(status: int, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, headers=headers, request=REQUEST, extensions={"reason_phrase": b"a secret"})


def test_a_success_is_handed_back():
    good = answer(204)
    assert good.raise_for_status() is good


@pytest.mark.parametrize("status", [302, 401, 404, 500])
def test_an_error_has_the_status_and_the_address_only(status: int):
    """Neither the words of the status, nor where a redirect leads, nor the query."""
    refused = answer(status, {"Location": "https://elsewhere.example/?key=a-secret", "Retry-After": "7"})
    with pytest.raises(HTTPStatusError) as raised:
        refused.raise_for_status()
    assert str(raised.value) == f"GET https://orders.example/v2/open returned {status}"
    assert raised.value.response.headers["Retry-After"] == "7"
