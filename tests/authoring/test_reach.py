"""The options `networks` and `origins` of a workflow, as tables: what an author writes, and what is a fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern import anonymous, tenant_users
from postern.access import SenderSignature
from postern.authoring.reach import networks_of, origins_of
from postern.authoring.signature import WorkflowFault
from tests.table import table

HOOK = anonymous(signed_by=SenderSignature("github", ("hook",), "X-Hub-Signature-256"))


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        (None, ()),
        (["10.0.0.0/8", "2001:db8::/32"], ("10.0.0.0/8", "2001:db8::/32")),
        (("192.0.2.7", "192.0.2.7/32"), ("192.0.2.7/32",)),
        (["::ffff:10.0.0.0/104"], ("10.0.0.0/8",)),
        (["0.0.0.0/0"], ("0.0.0.0/0",)),
    ],
)
def test_the_networks_of_a_workflow(networks, found):
    assert networks_of(networks) == found


@table(
    ("networks", "says"),
    [
        ("10.0.0.0/8", 'write networks=["10.0.0.0/8"]'),
        (7, "takes a list"),
        ([], "is empty"),
        ([7], "not 7"),
        ([""], "is not an address or a network"),
        (["10.0.0.1/8"], "without bits behind the prefix"),
        (["contoso.com"], "'contoso.com' is not"),
        (["10.0.0.0/8", "*"], "'*' is not"),
    ],
)
def test_networks_that_are_none_are_a_fault(networks, says):
    with pytest.raises(WorkflowFault) as caught:
        networks_of(networks)
    assert says in str(caught.value)


@table(
    "origin",
    [
        "https://app.example",
        "https://app.example:8443",
        "https://xn--bcher-kva.example",
        "https://localhost",
        "https://192.0.2.7",
        "https://[2001:db8::1]:8443",
        "http://localhost:5173",
        "http://127.0.0.1:5173",
        "http://[::1]:5173",
    ],
)
def test_an_origin_as_browsers_write_it(origin):
    assert origins_of([origin], tenant_users(), ()) == (origin,)


@table(
    ("origin", "says"),
    [
        ("https://app.example/", "is not an origin"),
        ("https://app.example/page", "is not an origin"),
        ("https://App.example", "in lower case"),
        ("HTTPS://app.example", "in lower case"),
        ("https://bücher.example", "is not an origin"),
        ("https://*.example", "is not an origin"),
        ("https://user@app.example", "is not an origin"),
        ("https://app.example:", "is not an origin"),
        ("https://app.example:0443", "is not an origin"),
        ("https://app.example\n", "is not an origin"),
        ("https://", "is not an origin"),
        ("app.example", "is not an origin"),
        ("file://", "is not an origin"),
        ("null", "is not an origin"),
        ("", "is not an origin"),
        ("https://app.example:443", "leave it out"),
        ("http://localhost:80", "leave it out"),
        ("http://app.example", "is not https"),
        ("http://localhost.example", "is not https"),
    ],
)
def test_an_origin_that_no_browser_sends_or_that_others_can_change_is_a_fault(origin, says):
    with pytest.raises(WorkflowFault) as caught:
        origins_of([origin], anonymous(), ())
    assert says in str(caught.value)


@table(
    ("origins", "access", "networks", "says"),
    [
        ("https://app.example", anonymous(), (), "takes a list"),
        ([], anonymous(), (), "is empty"),
        ([None], anonymous(), (), "not None"),
        (["*"], tenant_users(), (), "anonymous() alone"),
        (["*"], anonymous(signed=True), (), "anonymous() alone"),
        (["*"], HOOK, (), "anonymous() alone"),
        (["*", "https://app.example"], anonymous(), (), "nothing beside it"),
        (["*"], anonymous(), ("10.0.0.0/8",), "through a browser inside these networks"),
    ],
)
def test_any_origin_is_for_what_any_program_may_read(origins, access, networks, says):
    with pytest.raises(WorkflowFault) as caught:
        origins_of(origins, access, networks)
    assert says in str(caught.value)


def test_any_page_may_call_an_anonymous_trigger_that_says_so():
    assert origins_of(["*"], anonymous(), ()) == ("*",)
    assert origins_of(None, anonymous(), ()) == ()


@given(st.lists(st.text(max_size=40), max_size=3))
def test_whatever_is_written_is_an_origin_or_a_fault(origins):
    try:
        found = origins_of(origins, tenant_users(), ())
    except WorkflowFault:
        return
    assert all(origin.startswith(("https://", "http://")) for origin in found)
