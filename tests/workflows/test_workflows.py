"""Each example in `workflows/` has its test: in six lines, with the kit that authors use."""

from postern.testing import app, call, clock, connections, triggers, user


def test_hello():
    assert call("hello").json() == {"message": "Hello from Postern"}


def test_whoami():
    assert call("whoami", as_=user("lisa")).json()["name"] == "Lisa Moreau"
    assert call("whoami", as_=app("erp")).json()["kind"] == "application"
    assert call("whoami", as_=user("lisa", expired=True)).refused == "expiry"
    assert call("whoami", as_=user("lisa", wrong_audience=True)).refused == "audience"


def test_payroll():
    assert call("payroll", as_=user("lisa")).json()["paid"] == 12
    assert call("payroll", as_=user("ada")).refused == "listed"


def test_book_room():
    booking = {"start": "2026-03-02T09:00:00Z", "minutes": 30}
    booked = call("book-room", path="/rooms/7", as_=user("ada"), json=booking)
    assert (booked.status, booked.json()["end"]) == (201, "2026-03-02T09:30:00Z")
    assert call("book-room", path="/rooms/10", as_=user("ada"), json=booking).status == 404
    assert call("book-room", path="/rooms/7", as_=user("ada"), json=booking | {"minutes": 5}).refused == "invalid-body"


def test_find_people():
    found = {"value": [{"id": "7", "displayName": "Lisa Moreau"}]}
    connections["graph"].get("/users").fails(429, then=found)
    people = call("find-people", as_=user("ada"), json={"name": "Lisa"})
    assert people.json() == [{"id": "7", "name": "Lisa Moreau"}]
    assert connections["graph"].calls[1].query == {"$filter": "startswith(displayName,'Lisa')"}


def test_my_profile():
    me = {"id": "7", "displayName": "Lisa Moreau", "mail": "lisa@example.org"}
    connections["my-profile"].get("/me").replies(me)
    assert call("my-profile", as_=user("lisa")).json()["mail"] == "lisa@example.org"
    assert call("my-profile", as_=app("erp")).refused == "people-only"


def test_request_leave():
    triggers["approve-leave"].replies({"approved": True, "by": "Lisa Moreau"})
    assert call("request-leave", as_=user("ada"), json={"days": 3}).json()["approved"] is True
    assert triggers["approve-leave"].calls[0].json() == {"employee": "Ada Okafor", "days": 3}


def test_request_leave_while_approvals_are_away():
    triggers["approve-leave"].fails(503)
    assert call("request-leave", as_=user("ada"), json={"days": 3}).status == 502


def test_visit():
    registered = call("register-visitor", json={"name": "Zoe"})
    assert registered.json() == {"badge": "V-007", "name": "Zoe", "desk": 7, "by": "application"}
    assert call("issue-badge", as_=user("ada"), json={"name": "Zoe", "desk": 1}).refused == "listed"


def test_order_laptop():
    order = call("order-laptop", as_=user("ada"), json={"model": "X1"})
    order.approve("manager", as_=user("lisa"))
    clock.advance("8d")
    order.signal("arrived")
    assert order.reply().json()["state"] == "arrived"
