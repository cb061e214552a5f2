"""The pages for callers leave no code and no check out."""

import re
from pathlib import Path

import pytest

import postern.triggers
from postern.access import Guarded, bind, specific_users
from postern.errors import PROBLEMS
from postern.identity.token import RULES
from postern.triggers.secure_transport import CODE

FOLDER = Path(postern.triggers.__file__).parent
TROUBLESHOOTING = (FOLDER / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
CALLERS = (FOLDER / "CALLERS.md").read_text(encoding="utf-8")
ID = "00000000-0000-4000-8000-000000000001"


def first_cells(page: str) -> list[str]:
    """The first cell of each row of the page's tables."""
    return [row.split(" | ")[0].strip("| ") for row in page.splitlines() if row.startswith("| ")]


@pytest.mark.parametrize("code", sorted(set(PROBLEMS) - {"unauthenticated"}))
def test_each_code_has_a_cause(code: str):
    named = {name for cell in first_cells(TROUBLESHOOTING) for name in re.findall(r"`([a-z-]+)`", cell)}
    assert code in named | set(re.findall(r"^`([a-z-]+)`:", TROUBLESHOOTING, re.MULTILINE))


def test_each_check_of_a_401_has_a_cause_in_the_order_of_the_checks():
    section = TROUBLESHOOTING.split("\n## 401\n")[1].split("\n## ")[0]
    named = [name for cell in first_cells(section) for name in re.findall(r"`([a-z-]+)`", cell)]
    access = specific_users(ID, scopes=["s"], roles=["r"], clients=[ID], apps=False, guests=False)
    policy = bind(access, people={}, tenants=[ID], audiences=["api://x"])
    assert isinstance(policy, Guarded)
    expected = {"credentials", "authorization-header", CODE, "form"}
    assert sorted(named) == sorted(
        expected | {rule.name for rule in RULES} | {requirement.name for requirement in policy.requirements}
    )


def test_each_status_has_a_row_for_callers():
    statuses = {int(status) for cell in first_cells(CALLERS) for status in re.findall(r"\b[45]\d\d\b", cell)}
    assert {row.status for row in PROBLEMS.values()} - statuses == set()
