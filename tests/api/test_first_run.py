"""For whom a resubmitted run may act."""

from dataclasses import replace
from typing import Any

from sqlalchemy import insert

from postern.access import ANYONE, Caller, StartedBy
from postern.api.first_run import started_by
from postern.journal.body_form import Form
from postern.journal.database.engine import open_engine
from postern.journal.reading.queries import find_run
from postern.journal.reading.records import RunRecord
from postern.journal.reading.resubmits import MOST_RESUBMITS, lineage_of
from postern.journal.schema import runs
from tests.api.records import ADA, HERE, LISA, record
from tests.databases import put_sqlite
from tests.journal.recorded import id_number, run_row
from tests.table import table

ELSEWHERE = "00000000-0000-0000-0000-0000000000ee"
BY_LISA = {"caller_kind": "user", "tenant_id": HERE, "object_id": LISA}
FIRST = record(**BY_LISA, request_headers='[["x-a", "1"]]')
PERSON = Caller("user", LISA, HERE)
SAME, EDITED, ANOTHER, LOST = StartedBy.SAME_AGAIN, StartedBy.EDITED, StartedBy.ANOTHER, StartedBy.LOST
AGAIN = replace(FIRST, id=id_number(2), resubmitted_from=FIRST.id)
BY_ADA = replace(AGAIN, object_id=ADA)
DEEP = '[["x-a", "1"], ["Postern-Depth", "1"]]'


@table(
    ("caller", "edit", "lineage", "how"),
    [
        (PERSON, {}, [FIRST], SAME),
        (PERSON, {}, [AGAIN, FIRST], SAME),
        (PERSON, {}, [BY_ADA, FIRST], SAME),
        (PERSON, {"inputs": '{"name": "Lisa"}'}, [FIRST], EDITED),
        (PERSON, {"inputs_form": Form.TEXT}, [FIRST], EDITED),
        (PERSON, {"inputs": None, "inputs_form": Form.NONE}, [FIRST], EDITED),
        (PERSON, {"request": '{"method": "POST", "query": "a=1"}'}, [FIRST], EDITED),
        (PERSON, {"request_headers": '[["x-a", "2"]]'}, [FIRST], EDITED),
        (PERSON, {"workflow": "other"}, [FIRST], EDITED),
        (PERSON, {}, [AGAIN, replace(FIRST, inputs="{}")], EDITED),
        (Caller("user", ADA, HERE), {}, [FIRST], ANOTHER),
        (Caller("user", LISA, ELSEWHERE), {}, [FIRST], ANOTHER),
        (Caller("application", LISA, HERE), {}, [FIRST], ANOTHER),
        (ANYONE, {}, [FIRST], ANOTHER),
        (ANYONE, {}, [record()], ANOTHER),
        (PERSON, {}, [record()], ANOTHER),
        (PERSON, {}, [replace(FIRST, caller_kind="application")], ANOTHER),
        (PERSON, {}, [replace(FIRST, object_id=None)], ANOTHER),
        (PERSON, {}, [replace(FIRST, tenant_id=None)], ANOTHER),
        (Caller("user", "", ""), {}, [replace(FIRST, object_id="", tenant_id="")], ANOTHER),
        (PERSON, {}, [AGAIN, replace(FIRST, object_id=ADA)], ANOTHER),
        (PERSON, {}, [replace(FIRST, parent_run_id=id_number(9))], ANOTHER),
        (PERSON, {"request_headers": DEEP}, [replace(FIRST, request_headers=DEEP)], ANOTHER),
        (PERSON, {"request_headers": None}, [replace(FIRST, request_headers=None)], ANOTHER),
        (PERSON, {}, [AGAIN], LOST),
        (PERSON, {}, [AGAIN] * MOST_RESUBMITS, LOST),
        (PERSON, {}, [], LOST),
    ],
)
def test_a_resubmitted_run_acts_for_the_person_who_started_the_first_one_with_the_same_input(
    caller: Caller, edit: dict[str, Any], lineage: list[RunRecord], how: StartedBy
):
    assert started_by(caller, replace(FIRST, **edit), lineage) is how


def test_the_runs_that_a_run_comes_from_are_followed_to_the_first_one_within_bounds(tmp_path: Any):
    engine = open_engine(put_sqlite(tmp_path / "runs.db"), writing=True)
    last = MOST_RESUBMITS + 4
    with engine.begin() as connection:
        for number in range(1, last + 1):
            earlier = id_number(number - 1) if number > 1 else None
            connection.execute(insert(runs), run_row(number, **BY_LISA, resubmitted_from=earlier))

        def found(number: int) -> list[int]:
            of = find_run(connection, id_number(number))
            assert of is not None
            return [int(each.id[-12:], 16) for each in lineage_of(connection, of)]

        assert found(1) == [1]
        assert found(3) == [3, 2, 1]
        assert found(MOST_RESUBMITS)[-1] == 1
        assert found(last) == list(range(last, last - MOST_RESUBMITS, -1))
        connection.execute(runs.delete().where(runs.c.id == id_number(2)))
        assert found(4) == [4, 3]
    engine.dispose()
