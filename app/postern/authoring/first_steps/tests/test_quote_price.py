"""Tests of `quote_price.py`. Put such files into `tests/` beside `workflows/`, and run `postern test`."""

from postern.testing import call, user


def test_ten_pens_cost_95() -> None:
    reply = call("quote-price", as_=user("ada"), json={"item": "pen", "count": 10})
    assert reply.json() == {"item": "pen", "price": "95.00"}


def test_nobody_gets_a_price_without_a_token() -> None:
    assert call("quote-price", json={"item": "pen", "count": 10}).status == 401


def test_an_order_of_nothing_is_refused() -> None:
    reply = call("quote-price", as_=user("ada"), json={"item": "pen", "count": 0})
    assert (reply.status, reply.json()["errors"][0]["where"]) == (400, "/count")
