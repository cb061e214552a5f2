"""The wall of POSTERN_MCP_SCOPE, as a table: which tokens are for `/mcp` only."""

from typing import Any

import pytest

from postern.access import ANYONE, MCP_ONLY, Caller, Refused, only_for_mcp, refuse_outside
from tests.table import table

ID = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


def caller(*scopes: str) -> Caller:
    return Caller("user", ID, ID, ID, "api://postern", scopes=frozenset(scopes))


@table(
    ("scopes", "setting", "expected"),
    [
        (["Tools.Call"], "Tools.Call", True),
        (["Tools.Call", "Tools.Call"], "Tools.Call", True),
        (["Tools.Call", "user_impersonation"], "Tools.Call", False),
        (["user_impersonation"], "Tools.Call", False),
        (["tools.call"], "Tools.Call", False),
        ([], "Tools.Call", False),
        ([], "", False),
        (["user_impersonation"], "", False),
        ([""], "", False),
    ],
)
def test_a_token_is_for_mcp_only_if_its_only_scope_is_that_of_the_setting(
    scopes: Any, setting: Any, expected: Any
) -> None:
    assert only_for_mcp(caller(*scopes), setting) is expected


def test_such_a_token_is_refused_with_what_to_request_instead():
    with pytest.raises(Refused) as caught:
        refuse_outside(caller("Tools.Call"), "Tools.Call")

    assert (caught.value.failed.name, caught.value.proved) == (MCP_ONLY, True)
    assert "another scope" in caught.value.failed.advice
    for passes in (ANYONE, Caller("application", ID, ID, ID, "api://postern", roles=frozenset({"Tools.Call"}))):
        refuse_outside(passes, "Tools.Call")
