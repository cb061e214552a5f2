"""The page about connections says what the code does."""

import re
from pathlib import Path

import pytest

import postern.connections
from postern.call_chain import MOST_DEPTH
from postern.connections.calls.replies import LARGE
from postern.connections.places import MOST, MOST_OF_ENTRY, MOST_WAITING, most_of_entry
from postern.connections.retry_transport import IDEMPOTENT, PASSING
from postern.settings.entries import AUTHS, MAX_RESPONSE_BYTES, MAX_RESPONSE_ELEMENTS, Connection, Trigger
from postern.settings.presets import ENTRA, POWER_AUTOMATE, POWER_AUTOMATE_AUDIENCES, PROVIDERS

FOLDER = Path(postern.connections.__file__).parent
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def rows(heading: str, header: str) -> list[list[str]]:
    """The cells of the table below a heading whose first column is called so."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"(?:^ *\|.*\n)+", section, re.MULTILINE)
    found = next(table for table in tables if table.lstrip(" |").startswith(header))
    lines = [line.strip(" \n")[1:-1] for line in found.splitlines()[2:]]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def keys(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


@pytest.mark.parametrize("kind", AUTHS)
def test_each_way_to_sign_in_has_a_row_with_its_keys(kind: str):
    reported = {row[0].strip("`"): keys(row[1]) for row in rows("Ways to sign in", "`type`")}
    assert list(reported) == list(AUTHS)
    assert set(reported[kind]) == set(AUTHS[kind].model_fields) - {"type"}


def test_the_entries_have_their_keys():
    reported = {row[0].strip("`"): keys(row[1]) for row in rows("Add a connection", "entry")}
    assert set(reported["[connections.NAME]"]) == set(Connection.model_fields)
    assert set(reported["[triggers.NAME]"]) == set(Trigger.model_fields)
    assert f"(seconds for a whole call, {Connection.model_fields['timeout'].default})" in PAGE
    assert f"({MAX_RESPONSE_BYTES // 1024**2} MiB)" in PAGE
    assert f"`max_response_elements` ({MAX_RESPONSE_ELEMENTS:,})" in PAGE


def test_the_providers_are_those_that_are_known():
    reported = {row[0].strip("`") for row in rows("Ways to sign in", "`identity_provider`")}
    assert reported == {ENTRA, *PROVIDERS}


def test_the_audiences_of_power_automate_are_listed_for_each_cloud():
    reported = dict(row[:2] for row in rows("Call a flow of Power Automate", "`audience`"))
    assert reported.pop(f"`{POWER_AUTOMATE}`")
    assert reported == {f"`{name}`": f"`{audience}`" for name, audience in POWER_AUTOMATE_AUDIENCES.items()}


def test_what_is_sent_again_is_what_the_program_sends_again():
    section = " ".join(PAGE.split("\n## Retries\n")[1].split("\n## ")[0].split())
    assert f"for {', '.join(IDEMPOTENT[:-1])} and {IDEMPOTENT[-1]}, and" in section
    assert f"or {', '.join(map(str, PASSING[:-1]))} or {PASSING[-1]}." in section
    assert f"More than {MOST_DEPTH} calls" in PAGE


def test_the_files_that_it_names_are_there():
    named = re.findall(r"^\| (`[\w./]+\.py`[^|]*)\|", PAGE, re.MULTILINE)
    names = [name for cell in named for name in re.findall(r"`([\w./]+\.py)`", cell)]
    assert len(names) > 10
    assert [name for name in names if not (FOLDER / name).is_file()] == []


def test_the_limits_of_calls_are_those_of_the_program():
    section = " ".join(PAGE.split("\n## Calls\n")[1].split("\n## ")[0].split())
    assert f"share {MOST} connections" in section
    assert f"one entry has {MOST_OF_ENTRY}. " in section
    assert f"up to {most_of_entry(MOST_DEPTH)} of an entry" in section
    assert f"At most {MOST_WAITING} runs wait" in section
    assert (
        f"{MAX_RESPONSE_BYTES // 1024**2} MiB (`max_response_bytes`), and JSON in it {MAX_RESPONSE_ELEMENTS:,}"
        in section
    )
    assert f"Replies of {LARGE // 1024} KiB and more" in section
