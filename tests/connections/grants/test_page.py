"""The page about connections that people connect says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from postern.connections import grants
from postern.connections.grants.reasons import REASONS
from postern.connections.grants.sending import MAX_ANSWER_BYTES, SECONDS
from postern.settings import Connection, GrantedAuth
from postern.settings.grant_presets import GRANT_PRESETS

FOLDER = Path(grants.__file__).parent
PAGE = (FOLDER.parent / "GRANTS.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_each_key_of_an_entry_has_a_row():
    assert [row[0] for row in rows("What an entry can have")] == [f"`{name}`" for name in GrantedAuth.model_fields]


def test_each_provider_has_a_row_with_its_values():
    reported = {row[0].strip("`"): row[1:] for row in rows("Providers by name")}
    assert list(reported) == list(GRANT_PRESETS)
    for name, preset in GRANT_PRESETS.items():
        token_url, client, parameters, scopes, _, end = reported[name]
        assert preset.token_url in token_url
        assert client == f"`{preset.authentication}`"
        assert dict(re.findall(r"`(\w+)=(\w+)`", parameters)) == preset.parameters
        assert tuple(re.findall(r"`(\w+)`", scopes)) == preset.identity_scopes
        assert (end == "not possible") is (preset.revocation == "")


def test_each_reason_has_a_row_with_its_text_and_its_fix():
    reported = [(row[0].strip("`"), *row[1:]) for row in rows("Reasons")]
    assert reported == [(code, *reason) for code, reason in REASONS.items()]


def test_each_file_is_named_once():
    named = [name for row in rows("The files of `grants/`") for name in re.findall(r"`(\w+\.py)`", row[0])]
    assert sorted(named) == sorted(path.name for path in FOLDER.glob("[!_]*.py"))


def test_the_domains_of_salesforce_are_named():
    section = PAGE.split("\n## Salesforce, step by step\n")[1].split("\n## ")[0]
    assert ", ".join(f"`{domain}`" for domain in GRANT_PRESETS["salesforce"].domains) in section


def test_the_limits_are_those_of_the_program():
    assert f"at most {MAX_ANSWER_BYTES // 1024} KiB, and a request takes at most {SECONDS:g} s" in PAGE


@pytest.mark.parametrize("text", re.findall(r"^ *```toml\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL))
def test_each_entry_on_the_page_can_be_used(text: str):
    written = text.replace('client_id = "…"', 'client_id = "aaaaaaaa-0000-4000-8000-000000000001"').replace("….", "x.")
    ((_, entry),) = tomllib.loads(written)["connections"].items()
    assert isinstance(Connection.model_validate(entry).auth, GrantedAuth)
