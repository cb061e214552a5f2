"""The section "As the caller" says what the code does."""

import re
import tomllib
from pathlib import Path

import postern.connections
from postern.connections.grants.reasons import REASONS
from postern.connections.on_behalf_of.errors import CONSENT, OTHERS, SIGN_IN
from postern.connections.on_behalf_of.exchanges import MOST
from postern.connections.on_behalf_of.rules import NO_TOKEN, NOBODY
from postern.settings import OnBehalfOfAuth

PAGE = (Path(postern.connections.__file__).parent / "README.md").read_text("utf-8")
SECTION = PAGE.split("\n## As the caller\n")[1].split("\n## ")[0]


def test_its_keys_are_those_of_an_entry():
    table = SECTION.split("| key | |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([a-z_]+)`", table))
    assert named == set(OnBehalfOfAuth.model_fields) - {"type", "on_behalf_of"}


def test_its_example_is_a_valid_entry():
    (text,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    auth = tomllib.loads(text)["connections"]["graph-as-me"]["auth"]
    assert OnBehalfOfAuth(**auth).audience == "https://graph.microsoft.com"


def test_its_codes_are_those_that_are_told_apart():
    """Each in the row of what it leads to."""
    rows = [row for row in SECTION.splitlines() if row.startswith("| AADSTS")]
    found = {code: row for row in rows for code in map(int, re.findall(r"\d{5,7}", row.split("|")[1]))}
    assert {code for code, row in found.items() if "424" in row} <= set(CONSENT)
    assert {code for code, row in found.items() if "401" in row} <= set(SIGN_IN)
    assert {code for code, row in found.items() if "500 " in row.split("|")[3]} <= set(OTHERS)
    assert len(found) == 9


def test_its_reasons_and_its_limit_are_those_of_the_code():
    named = set(re.findall(r"`(application|called-by-run|resubmitted)`", SECTION))
    assert named == {"application", "called-by-run", NO_TOKEN.reason}
    assert named <= {*NOBODY, NO_TOKEN.reason} & set(REASONS)
    assert f"for {MOST:,} tokens at most" in SECTION
