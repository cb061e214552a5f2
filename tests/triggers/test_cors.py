"""Which fields of CORS an answer has, whatever Origin a request names.

The whole protocol is in tests/pipeline/test_reach.py, and in tests/process/console/test_other_origins.py in a browser.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postern import anonymous, workflow
from postern.access import OPEN
from postern.catalog import Trigger
from postern.triggers.cors import ALLOW, fields_for, let_read, preflights
from postern.triggers.gate import ADDED

ORIGINS = ("https://app.example", "http://localhost:5173")


@workflow(access=anonymous(), origins=list(ORIGINS))
async def door(ctx: Any) -> None: ...


TRIGGER = Trigger(door, OPEN, Path("door.py"))
ORIGIN = st.sampled_from([*ORIGINS, "https://app.example.evil.example", "null", "*", ""]) | st.text(
    st.characters(max_codepoint=255), max_size=30
)


def asked(headers: list[tuple[bytes, bytes]], method: str = "POST") -> dict[str, Any]:
    """A request as the server passes it on."""
    return {"method": method, "raw_path": b"/triggers/door", "headers": headers, "client": ("192.0.2.7", 1)}


@given(st.lists(ORIGIN, max_size=3))
def test_only_one_origin_that_is_named_exactly_may_read(origins: list[str]):
    headers = [(b"origin", origin.encode("latin-1")) for origin in origins]
    may = len(origins) == 1 and origins[0] in ORIGINS
    scope = asked(headers)
    let_read(TRIGGER, scope)
    added = dict(scope[ADDED])
    assert added.get(ALLOW) == (origins[0].encode() if may else None)
    assert added[b"vary"] == b"origin"
    wants = [*headers, (b"access-control-request-method", b"POST")]
    preflight = preflights(lambda: {"door": TRIGGER})(asked(wants, "OPTIONS"))
    assert (preflight is not None) is may


@pytest.mark.parametrize("named", [(), ORIGINS, ("*",)])
def test_no_answer_allows_credentials_of_the_browser(named: tuple[str, ...]):
    for origin in (*ORIGINS, "null", ""):
        assert b"access-control-allow-credentials" not in fields_for(named, origin)


def test_a_workflow_without_origins_adds_nothing():
    trigger = cast("Trigger", SimpleNamespace(workflow=SimpleNamespace(origins=(), methods=("POST",))))
    scope = asked([(b"origin", b"https://app.example")])
    let_read(trigger, scope)
    assert ADDED not in scope
