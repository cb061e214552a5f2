"""A durable run goes on after a crash. The run is a whole one, with DBOS: the test takes a second."""

from postern.testing import call, crash_after, resume, user


def test_a_crash_after_the_order_is_placed():
    crash_after("place_order")
    order = call("order-laptop", as_=user("ada"), json={"model": "X1"})
    order.approve("manager", as_=user("lisa"))
    resume()
    order.signal("arrived")
    assert order.reply().json()["state"] == "arrived"
    assert [step.name for step in order.steps] == ["place_order"]
