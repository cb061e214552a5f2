"""What a span of a request says of its caller."""

from typing import Any

from postern.access import ANYONE, Agent, Caller
from postern.trace import Trace
from postern.triggers import traced
from postern.triggers.via import VIA, Via
from tests.table import table

ID = "11111111-aaaa-4111-8111-111111111111"
LISA = Caller("user", ID, ID, ID)


@table(
    ("caller", "scope", "expected"),
    [
        (ANYONE, {}, {"postern.caller.kind": "anonymous"}),
        (LISA, {VIA: Via("mcp", "Copilot")}, {"postern.caller.kind": "user", "postern.via": "mcp"}),
        (
            Caller("user", ID, ID, ID, agent=Agent(ID, "", "on-behalf-of-user")),
            {},
            {
                "postern.caller.kind": "user",
                "postern.agent.kind": "on-behalf-of-user",
                "postern.agent.client_id": ID,
            },
        ),
    ],
)
def test_a_span_has_the_way_and_the_agent_and_not_what_a_client_says_of_itself(caller: Any, scope: Any, expected: Any):
    request = traced._Traced(Trace("0" * 31 + "1", "0" * 15 + "1", 0, ""), 0, None)
    before = traced._REQUEST.set(request)
    try:
        unused: Any = None
        traced.admitted(unused, caller, scope)
    finally:
        traced._REQUEST.reset(before)
    assert request.attributes == expected
