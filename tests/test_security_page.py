"""Every defence on the page of threats has a test, which exists."""

import re
from pathlib import Path

from tests.table import table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "app" / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")]


@table("row", ROWS, ids=lambda row: row.split(" | ")[0].strip("| "))
def test_each_threat_names_its_defence_and_a_test_that_is_there(row: str):
    threat, defence, named = [cell.strip() for cell in row.strip("| ").split(" | ")]
    assert threat
    assert defence
    assert (ROOT / re.fullmatch(r"`(tests/[a-z0-9_/]+\.py)`", named)[1]).is_file()  # type: ignore[index]
