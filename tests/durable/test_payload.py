"""What a workflow sees of its request is the same when the run is started from what was kept."""

from dataclasses import fields
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from postern import anonymous, workflow
from postern.access import Caller, StartedBy
from postern.authoring.request import Request
from postern.call_chain import Chain
from postern.durable.payload import packed, unpacked
from postern.journal.run import Run
from postern.trace import Trace

TEXTS = st.text(max_size=20)
BYTES = st.binary(max_size=30)
NAMES = st.frozensets(TEXTS, max_size=3)
CALLERS = st.builds(
    Caller,
    st.sampled_from(["anonymous", "user", "application", "finding"]),
    **dict.fromkeys(("object_id", "tenant_id", "client_id", "audience", "name", "token_version", "token_id"), TEXTS),
    **dict.fromkeys(("scopes", "roles", "auth_contexts", "capabilities"), NAMES),
    guest=st.booleans(),
    issued_at=st.floats(0, 1e12),
    credential=st.sampled_from(["", "public", "secret", "certificate"]),
)
WITHHELD = frozenset({b"authorization"})
CREDENTIALS = {b"authorization", b"cookie", b"x-api-key"}
HEADERS = st.lists(st.tuples(st.sampled_from([b"x-a", b"accept", *CREDENTIALS]), BYTES), max_size=4)
REQUESTS = st.builds(
    lambda method, path, parameters, body, query, headers, kind, trace, chain: Request(
        method, path, parameters, "192.0.2.1", body, query, headers, WITHHELD, kind, trace, chain
    ),
    st.sampled_from(["POST", "GET", "HEAD"]),
    TEXTS,
    st.dictionaries(TEXTS, TEXTS, max_size=2),
    BYTES,
    BYTES,
    HEADERS,
    TEXTS,
    st.none() | st.builds(Trace, TEXTS, TEXTS, st.integers(0, 255), TEXTS),
    st.none() | st.builds(Chain, st.integers(0, 16), TEXTS),
)


@workflow(access=anonymous(), durable=True)
async def any_work(ctx) -> None:
    """Nothing."""


@given(CALLERS, REQUESTS, st.sampled_from(StartedBy), st.floats(1, 1e9) | st.just(inf))
def test_all_that_the_workflow_sees_comes_back_and_no_credential_is_kept(
    caller: Caller, request: Request, started_by: StartedBy, timeout: float
):
    run = Run("r", any_work, caller, request, 1000.25)
    run.parent_run_id, run.resubmitted_from, run.resubmitted_by, run.trace_id = "p", "f", "b", "t"
    kept = packed(run, started_by, timeout)
    found = unpacked(kept)
    again = found.request
    for name in ("method", "path", "client_address", "body", "query_string", "content_type", "trace", "chain"):
        assert getattr(again, name) == getattr(request, name), name
    assert dict(again.path_parameters) == dict(request.path_parameters)
    assert again.headers.raw == [each for each in request.headers.raw if each[0] not in CREDENTIALS]
    for field in fields(Caller):  # equality leaves some out
        assert getattr(found.caller, field.name) == getattr(caller, field.name), field.name
    assert (found.started_by, found.timeout, found.started_at) == (started_by, timeout, 1000.25)
    assert (found.parent_run_id, found.resubmitted_from, found.resubmitted_by, found.trace_id) == ("p", "f", "b", "t")


def test_the_text_shows_no_request_in_its_repr():
    run = Run("r", any_work, Caller("anonymous"), Request("POST", "/triggers/a", body=b"MARKER"), 1000.0)
    found = unpacked(packed(run, StartedBy.REQUEST, 1.0))
    assert "MARKER" not in repr(found)
