"""The pages of schedules and failures have the examples, times and names that the code has."""

import re
from pathlib import Path

import pytest

from postern.access.caller import BY_SERVER
from postern.api.own_run_metrics import failure_metrics, schedule_metrics
from postern.authoring.workflow import Workflow
from postern.failures import notices, notifier
from postern.journal import failure_notices
from postern.journal import schedules as rows
from postern.journal.idempotency_keys import KEPT_FOR
from postern.schedules import due, scheduler

ROOMS = Path(__file__).parents[2] / "app" / "postern"


def page(room: str) -> str:
    return " ".join((ROOMS / room / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("room", ["schedules", "failures"])
def test_the_example_is_a_module_of_workflows(room: str):
    [code] = re.findall(r"```python\n(.*?)```", (ROOMS / room / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, object] = {}
    exec(compile(code, "example.py", "exec"), found)
    workflows = {each.name: each for each in found.values() if isinstance(each, Workflow)}
    assert all(each.schedule or not each.unfit_to_be_started for each in workflows.values())
    assert {each.on_failure for each in workflows.values()} - {""} <= workflows.keys()


def test_the_page_of_schedules_has_the_times_of_the_code():
    for text in (
        f"more than {due.LATE:g} seconds in the past is missed",
        f"more than {rows.AHEAD / 3600:g} hours away",
        f"noticed within {scheduler.LOOK_SECONDS:g} seconds",
        f"a second one for {KEPT_FOR / 3600:g} hours",
    ):
        assert text in page("schedules"), text


def test_the_page_of_failures_has_the_numbers_of_the_code():
    for text in (
        f"at most {notices.BURST} runs at once",
        f"for {failure_notices.AGE / 3600:g} hours",
    ):
        assert text in page("failures"), text
    assert notices.SECONDS_PER_NOTICE == notifier.LOOK_SECONDS == 60  # each minute, and within a minute


def test_the_pages_name_the_states_kinds_and_outcomes():
    failures, schedules = page("failures"), page("schedules")
    assert all(f"| `{state}`" in failures for state in failure_notices.STATES)
    assert all(f"`{outcome}`" in failures for outcome in notifier.OUTCOMES)
    assert all(f"`{outcome}`" in schedules for outcome in scheduler.OUTCOMES)
    assert all(f"| `{kind}`" in page("authoring") for kind in BY_SERVER)
    names = [each.name for made in (schedule_metrics, failure_metrics) for each in made(dict)()]
    assert all(name in schedules + failures for name in names), names
