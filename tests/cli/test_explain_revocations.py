"""`postern explain` checks a token against the revocations of the database, if it can be read."""

from pathlib import Path

import pytest

from postern.journal import revocations as table
from postern.journal.revocations import Kind, Revocation, Rule
from postern.local_tenant import LocalTenant
from tests.cli.conftest import Postern
from tests.cli.recorded import closing_engine

pytestmark = pytest.mark.slow

LATER = 4_000_000_000.0
"""A time that no test lives to see."""


def lisas(folder: Path) -> tuple[LocalTenant, str]:
    tenant = LocalTenant.open(folder / "var" / "local-tenant")
    return tenant, tenant.token("lisa")


def test_a_revoked_token_fails_the_check_of_that_name(postern: Postern, url: str, folder: Path):
    tenant, token = lisas(folder)
    rule = Rule(Kind.CALLER, tenant.tenant_id, tenant.people["lisa"], LATER)
    with closing_engine(url) as engine, engine.begin() as connection:
        table.make(connection, Revocation("id-1", rule, "", "", "{}", LATER))
    result = postern("explain", token, "--workflow", "payroll")
    assert result.exit_code == 1
    assert "the check 'revoked' is the first that fails" in " ".join(result.stderr.split())
    assert token.split(".")[2] not in result.output


def test_a_token_that_is_not_revoked_passes_it(postern: Postern, url: str, folder: Path):
    result = postern("explain", lisas(folder)[1], "--workflow", "payroll")
    assert (result.exit_code, "revoked" in result.stdout) == (0, True)


def test_where_there_is_no_database_yet_nothing_is_revoked(postern: Postern, folder: Path):
    result = postern("explain", lisas(folder)[1], "--workflow", "payroll")
    assert (result.exit_code, "not checked" in result.stderr) == (0, False)


def test_a_database_that_cannot_be_read_is_named_and_the_check_left_out(postern: Postern, folder: Path):
    (folder / "no.db").write_text("this is no database, but a text of more than hundred bytes" * 9)
    database = f"sqlite:///{folder}/no.db"
    result = postern("explain", lisas(folder)[1], "--workflow", "payroll", POSTERN_DATABASE_URL=database)
    assert (result.exit_code, "revoked" in result.stdout) == (0, False)
    assert "Revocations are not checked: the database of POSTERN_DATABASE_URL cannot be read" in result.stderr
