"""The page of a run: what it says first, its timeline and chain, its bodies, and who sees what of it."""

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from postern.journal.run import State
from postern.journal.run_logs import Lines, LogLine, add_lines
from postern.journal.schema import calls, steps
from tests.api.records import ADA, LISA, record
from tests.console.run_visits import RunConsole, open_run_console
from tests.databases import put_sqlite
from tests.journal.recorded import NOON, id_number, run_row

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, RUNNING = (id_number(number) for number in (1, 2, 3, 4))
UNKNOWN = id_number(99)


@pytest.fixture
async def console(tmp_path: Path, own_modules: None) -> AsyncIterator[RunConsole]:
    """The pages on a journal of a few runs."""
    async with open_run_console(tmp_path, put_sqlite(tmp_path / "runs.db")) as console:
        ada = {"object_id": ADA, "caller_name": "Ada", "workflow": "book"}
        console.put(
            run_row(1, state="Failed", status=500, error_type="ValueError", error_message="the reason"),
            run_row(
                2, **ada, state="Failed", status=500, error_type="Timeout", error_message="why", ended_at=NOON + 43.9
            ),
            run_row(3, object_id=LISA, caller_name="Lisa", workflow="payroll"),
            run_row(4, **ada, state="Running", status=None, ended_at=None, outputs=None, outputs_form=None),
        )
        yield console


def put_steps(console: RunConsole, run_id: str, *found: tuple[int, str, list[tuple[float, float, str]]]) -> None:
    """Record steps: number, name, and attempts with times after NOON."""
    rows = [
        {
            "run_id": run_id,
            "number": number,
            "name": name,
            "succeeded": int(not attempts[-1][2]),
            "attempts": json.dumps([(NOON + begin, NOON + end, error) for begin, end, error in attempts]),
        }
        for number, name, attempts in found
    ]
    with console.engine.begin() as connection:
        connection.execute(insert(steps), rows)


def put_call(console: RunConsole, run_id: str, number: int, child: str | None, **more: Any) -> None:
    row = {
        "run_id": run_id,
        "number": number,
        "step": None,
        "name": "payroll",
        "child_run_id": child,
        "url": None,
        "status": 200,
        "started_at": NOON + 3,
        "ended_at": NOON + 4,
        "error_type": None,
    }
    with console.engine.begin() as connection:
        connection.execute(insert(calls), row | more)


SEEN = """
          | anonymous's | ada's | lisa's | running | unknown
operator  | 200         | 200   | 200    | 200     | 404
ada       | 200         | 200   | 404    | 200     | 404
lisa      | 200         | 404   | 200    | 404     | 404
"""


@pytest.mark.parametrize("page", ["", "/cancel", "/resubmit"])
async def test_who_sees_which_run(console: RunConsole, page: str):
    """As in the run API: the id of an anonymous caller's run is enough to see it."""
    runs = (ANONYMOUS_RUN, ADAS_RUN, LISAS_RUN, RUNNING, UNKNOWN)
    for line in SEEN.strip("\n").splitlines()[1:]:
        who, *expected = (part.strip() for part in line.split("|"))
        assert [str((await console.get(f"/console/runs/{run}{page}", who)).status) for run in runs] == expected, who


@pytest.mark.parametrize("page", ["", "/cancel", "/resubmit"])
async def test_a_run_of_another_looks_like_none_at_all(console: RunConsole, page: str):
    for headers in ({}, {"hx_request": "true"}):
        answers = [
            await console.get(f"/console/runs/{run}{page}", "ada", **headers) for run in (LISAS_RUN, UNKNOWN, "x")
        ]
        assert {(answer.status, answer.page) for answer in answers} == {(404, "unknown-run")}


async def test_a_run_that_is_not_recorded_yet_is_seen_by_its_caller_only(console: RunConsole):
    new = id_number(70)
    ran = {"caller_kind": "user", "tenant_id": run_row(1, object_id=ADA)["tenant_id"], "object_id": ADA}
    console.underway[new] = record(id=new, state=State.RUNNING, ended_at=None, status=None, **ran)
    assert "Running for" in (await console.get(f"/console/runs/{new}", "ada")).text
    assert (await console.get(f"/console/runs/{new}", "lisa")).status == 404


async def test_it_begins_with_a_sentence_that_names_the_step(console: RunConsole):
    put_steps(
        console,
        ADAS_RUN,
        (1, "find-room", [(2, 3, "")]),
        (2, "ask-graph", [(3, 4, "Timeout"), (14, 15, "Timeout"), (43, 43.9, "Timeout")]),
    )
    seen = await console.get(f"/console/runs/{ADAS_RUN}")
    assert seen.text.startswith(
        'id="main" tabindex="-1"> Runs / book Failed after 41.9 s in step ask-graph book, started'
    )
    assert "<title>Failed after 41.9 s in step ask-graph · book · Postern</title>" in seen.page
    assert "3 attempts" in seen.text
    assert "2 steps" in seen.text


@pytest.mark.parametrize(
    ("who", "message", "said"),
    [("operator", True, "why"), ("ada", False, "Operators see the message of this error.")],
)
async def test_messages_tracebacks_and_headers_are_for_operators(
    console: RunConsole, who: str, message: bool, said: str
):
    console.change(ADAS_RUN, error_traceback="File secret.py", request_headers='[["x-trace", "h1"], ["x-key", null]]')
    seen = await console.get(f"/console/runs/{ADAS_RUN}", who)
    assert said in seen.text
    assert (f"/console/revocations?kind=caller&amp;subject={ADA}" in seen.page) is message
    for private in ("File secret.py", "h1", "not recorded"):
        assert (private in seen.text) is message
    console.change(ADAS_RUN, error_shown=1)
    assert ">why<" in (await console.get(f"/console/runs/{ADAS_RUN}", "ada")).page


@pytest.mark.parametrize(
    ("form", "text", "shown", "note"),
    [
        ("json", '{"a":[1,2.50],"b":{}}', '{\n  "a": [\n    1,\n    2.50\n  ],\n  "b": {}\n}', ""),
        ("json", "{not json", "{not json", ""),
        ("text", '{"a":1}', '{"a":1}', ""),
        ("none", None, None, "sent no body"),
        ("secured", None, None, "declared with secure_inputs"),
        ("cut", '{"a":', '{"a":', "longer than 64 KiB"),
        ("redacted", '{"a":1}', '{\n  "a": 1\n}', "look like secrets"),
        ("base64", "AP8=", "AP8=", "Base64"),
    ],
)
async def test_the_input_is_shown_or_why_it_is_not_kept(
    console: RunConsole, form: str, text: str | None, shown: str | None, note: str
):
    console.change(LISAS_RUN, inputs=text, inputs_form=form)
    card = (
        (await console.get(f"/console/runs/{LISAS_RUN}", "lisa"))
        .page.partition('id="input"')[2]
        .partition("</section")[0]
    )
    found = re.search(r"<code>(.*?)</code>", card, re.DOTALL)
    assert (unescape(found[1]) if found else None) == shown
    assert note in card


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({"state": "Running", "ended_at": None, "outputs": None, "outputs_form": None}, "The run has not ended."),
        ({"outputs": None, "outputs_form": "none"}, "The reply has no body."),
        ({"state": "Interrupted", "status": None, "outputs": None, "outputs_form": None}, "ended without a reply"),
        ({"outputs": None, "outputs_form": "secured"}, "secure_inputs or secure_outputs"),
    ],
)
async def test_where_there_is_no_output_it_says_why(console: RunConsole, values: dict[str, Any], note: str):
    console.change(LISAS_RUN, **values)
    assert note in (await console.get(f"/console/runs/{LISAS_RUN}")).text


async def test_a_long_body_is_a_link_away(console: RunConsole):
    console.change(LISAS_RUN, outputs="x" * 60_000, outputs_form="text")
    first = await console.get(f"/console/runs/{LISAS_RUN}")
    assert len(first.page) < 40_000
    assert "more characters" in first.text
    (link,) = first.links("bodies=whole")
    assert "x" * 60_000 in (await console.get(link.partition("#")[0])).page


async def test_a_running_run_is_asked_for_again_and_one_that_has_ended_is_not(console: RunConsole):
    seen = await console.get(f"/console/runs/{RUNNING}", "ada")
    assert f'hx-get="/console/runs/{RUNNING}?after=0" hx-select="#run" hx-trigger="every 2s"' in seen.page
    assert seen.links("/cancel") == [f"/console/runs/{RUNNING}/cancel"]
    assert seen.links("/resubmit") == []
    console.change(RUNNING, state="Succeeded", ended_at=NOON + 5, status=200)
    seen = await console.get(f"/console/runs/{RUNNING}", "ada", hx_request="true")
    assert "hx-get" not in seen.page
    assert "Succeeded in 1.0 s" in seen.text
    assert seen.links("/resubmit") == [f"/console/runs/{RUNNING}/resubmit"]


async def test_a_long_run_shows_failed_steps_first_then_fifty_then_more(console: RunConsole):
    put_steps(
        console,
        ADAS_RUN,
        *((n, f"step-{n}", [(n / 1000, n / 1000, "Boom" if n in (7, 4000, 9000) else "")]) for n in range(1, 10_001)),
    )
    seen = await console.get(f"/console/runs/{ADAS_RUN}")
    assert "10 000 steps, 1 to 50 shown" in seen.text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert re.findall(r">step-(\d+)", seen.page) == ["4000", "9000", *map(str, range(1, 51))]
    assert len(seen.page.encode()) < 60_000
    to_last, link = seen.links("after=")
    assert to_last.endswith("?after=9950#time")
    assert "9 951 to 10 000 shown" in (await console.get(to_last)).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    later = await console.get(link.partition("#")[0])
    assert re.findall(r">step-(\d+)", later.page) == ["7", "4000", "9000", *map(str, range(51, 101))]
    last = await console.get(f"/console/runs/{ADAS_RUN}?after=9990")
    assert re.findall(r">step-(\d+)", last.page) == ["7", "4000", "9000", *map(str, range(9991, 10_001))]
    assert last.links("after=") == []
    assert "none after" in (await console.get(f"/console/runs/{ADAS_RUN}?after=10000")).text
    for wrong in ("-1", "x", "1" * 10, "\u0663"):
        assert (await console.get(f"/console/runs/{ADAS_RUN}?after={wrong}")).page == "bad-filter"


async def test_a_chain_names_no_run_that_the_viewer_may_not_see(console: RunConsole):
    child, hidden, alone = id_number(11), id_number(12), id_number(13)
    console.put(
        run_row(11, object_id=ADA, workflow="child-of-ada", parent_run_id=ADAS_RUN),
        run_row(12, object_id=LISA, workflow="hidden-workflow", parent_run_id=ADAS_RUN, state="Failed"),
        run_row(13, workflow="anonymous-workflow", parent_run_id=ADAS_RUN),
    )
    put_call(console, ADAS_RUN, 1, child)
    put_call(console, ADAS_RUN, 2, hidden, name="the-call", status=500, error_type="CallError")
    for who, named in (("ada", False), ("operator", True)):
        seen = await console.get(f"/console/runs/{ADAS_RUN}", who)
        chain = seen.page.partition('id="chain"')[2].partition("</section")[0]
        assert f'href="/console/runs/{child}"' in chain
        assert ("the-call" in chain) is not named
        for part in ("hidden-workflow", "anonymous-workflow", hidden, alone):
            assert (part in seen.page) is named, (who, part)
    below = await console.get(f"/console/runs/{child}", "ada")
    chain = below.page.partition('id="chain"')[2].partition("</section")[0]
    assert f'href="/console/runs/{ADAS_RUN}"' in chain
    assert "<b>child-of-ada</b>" in chain


async def test_a_chain_does_not_go_up_to_a_run_of_another(console: RunConsole):
    console.change(LISAS_RUN, parent_run_id=ADAS_RUN)
    seen = await console.get(f"/console/runs/{LISAS_RUN}", "lisa")
    assert "book" not in seen.page
    assert seen.links(ADAS_RUN) == []


async def test_calls_are_rows_below_their_step(console: RunConsole):
    put_steps(console, ADAS_RUN, (1, "first", [(2, 5, "")]), (2, "second", [(6, 7, "")]))
    put_call(console, ADAS_RUN, 1, None, step=1, name="inside", url="https://other.example/x", status=202)
    put_call(
        console, ADAS_RUN, 2, None, name="beside", started_at=NOON + 5.5, ended_at=NOON + 5.8, error_type="CallError"
    )
    seen = (await console.get(f"/console/runs/{ADAS_RUN}")).text
    order = [seen.index(name) for name in ("The whole run", "first", "inside", "beside", "second")]
    assert order == sorted(order)
    assert "answered 202, at https://other.example/x" in seen


async def test_an_operators_view_of_anothers_run_is_a_line_in_the_log_and_its_polls_are_none(console: RunConsole):
    async def lines(run_id: str, who: str, **headers: str) -> list[str]:
        with capture_logs() as logs:
            await console.get(f"/console/runs/{run_id}", who, **headers)
        return [line["run_id"] for line in logs if line["event"] == "run-viewed"]

    assert await lines(RUNNING, "ada") == []
    assert await lines(RUNNING, "operator", hx_request="true") == [RUNNING]  # a poll without a view before
    assert await lines(RUNNING, "operator", hx_request="true") == []
    assert await lines(RUNNING, "operator") == [RUNNING]
    assert await lines(ANONYMOUS_RUN, "operator") == [""]
    assert await lines(ANONYMOUS_RUN, "lisa") == []


EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</textarea></pre></code><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "]]><!--",
]


@pytest.mark.parametrize("evil", EVIL)
async def test_text_of_others_is_text(console: RunConsole, evil: str):
    """Names, errors, bodies, people, headers, steps, calls and addresses."""
    actor = json.dumps({"kind": "user", "object_id": ADA, "client_id": None, "name": evil})
    console.change(
        ADAS_RUN,
        workflow=evil,
        caller_name=evil,
        client_address=evil,
        error_type=evil,
        error_message=evil,
        error_traceback=evil,
        inputs=json.dumps({evil: evil}),
        outputs=evil,
        outputs_form="text",
        request=json.dumps({"method": evil, "path": evil, "query": evil, "content_type": evil, "redacted": False}),
        request_headers=json.dumps([[evil, evil]]),
        resubmitted_by=actor,
        resubmitted_from=id_number(1),
        trace_id=evil,
        parent_run_id=evil,
        via=evil,
        via_client=json.dumps({"name": evil, "version": evil}),
        agent=json.dumps({"client_id": evil, "blueprint": evil, "kind": evil}),
    )
    with console.engine.begin() as connection:
        add_lines(connection, Lines(ADAS_RUN, 1, 1, (LogLine(NOON, "log", evil, evil, evil),), 0, 0, ""))
    put_steps(console, ADAS_RUN, (1, evil, [(2, 3, evil)]))
    put_call(console, ADAS_RUN, 1, None, name=evil, url=evil, error_type=evil)
    for page in ("", f"/{ADAS_RUN}", f"/{ADAS_RUN}/cancel", f"/{ADAS_RUN}/resubmit", f"?{urlencode({'text': evil})}"):
        seen = await console.get(f"/console/runs{page}")
        assert seen.status == 200
        for tag, attributes in seen.tags():
            assert tag not in {"script", "img", "iframe", "object", "style", "link", "meta"}
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            for name in attributes.keys() & {"href", "src", "action", "hx-get"}:
                assert re.match(r"/console/|#s-", attributes[name])
        edits = page.endswith("resubmit") or "?" in page  # what a person types stays as it is
        assert edits or not re.search("[\u202e\u2066]", seen.page)
        assert ">49<" not in seen.page


SECURED = "SECURED-MARK"


async def test_secured_bodies_are_on_no_page(console: RunConsole):
    """They are not recorded, and a record of an earlier release that had them would say so by its form."""
    console.change(LISAS_RUN, inputs=None, inputs_form="secured", outputs=None, outputs_form="secured")
    for page in ("", f"/{LISAS_RUN}", f"/{LISAS_RUN}/resubmit"):
        seen = await console.get(f"/console/runs{page}", "lisa")
        assert seen.status == 200
        assert '"Ada"' not in unescape(seen.page)
    assert "are not recorded, because its workflow is secured" in seen.text
    assert "<textarea" not in seen.page


SAID = (
    LogLine(NOON, "stdout", "", "", "3 seats \x1b[31m<b>"),
    LogLine(NOON + 1.5, "log", "warning", "of.mine", "twice"),
)


@pytest.mark.parametrize(("who", "shown"), [("operator", True), ("ada", False)])
async def test_what_a_run_printed_and_logged_is_for_operators(console: RunConsole, who: str, shown: bool):
    with console.engine.begin() as connection:
        add_lines(connection, Lines(ADAS_RUN, 1, 1, SAID, 4, 0, ""))
    page = (await console.get(f"/console/runs/{ADAS_RUN}", who)).page
    lines = "12:00:00.000  stdout  3 seats \\x1b[31m&lt;b&gt;\n12:00:01.500  warning of.mine  twice"
    assert (lines in page) is shown
    assert ("6 lines, of which the last 4 are not recorded" in page) is shown
    assert ("3 seats" in page) is shown


async def test_of_a_secured_workflow_and_of_several_attempts_the_log_says_so(console: RunConsole):
    with console.engine.begin() as connection:
        add_lines(connection, Lines(LISAS_RUN, 1, 1, (), 0, 1, ""))
        for attempt in (1, 2):
            add_lines(connection, Lines(ADAS_RUN, attempt, 1, SAID[1:], 0, 0, ""))
    page = (await console.get(f"/console/runs/{LISAS_RUN}")).page
    assert "1 line, which are not recorded: the workflow has secure_inputs or secure_outputs" in page
    assert "attempt 2  12:00:01.500  warning" in (await console.get(f"/console/runs/{ADAS_RUN}")).page
    assert 'id="log"' not in (await console.get(f"/console/runs/{RUNNING}")).page
