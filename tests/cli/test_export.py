"""`postern export openapi`: the whole catalog as a file, without a server."""

import json
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, validate

from tests.cli.conftest import Postern
from tests.cli.test_catalog import REAL
from tests.openapi.catalogs import HIDDEN, HIDING

pytestmark = pytest.mark.slow

PAIR = """from pydantic import BaseModel, Field
from postern import anonymous, workflow


class Pair(BaseModel):
    both: tuple[int, str]
    size: int | None = Field(gt=0)


@workflow(access=anonymous())
def pair(ctx, given: Pair) -> int:
    return 1
"""


def test_the_document_of_all_workflows_goes_to_standard_output(postern: Postern):
    result = postern("export", "openapi")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    validate(document, cls=OpenAPIV31SpecValidator)
    assert len(document["paths"]) == 11
    assert document["servers"] == [{"url": "http://127.0.0.1:8080"}]
    assert result.stderr == ""


def test_api_management_gets_version_3_0(postern: Postern, folder: Path):
    (folder / "workflows" / "pair.py").write_text(PAIR, "utf-8")
    result = postern("export", "openapi", "--openapi", "3.0")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    validate(document, cls=OpenAPIV30SpecValidator)
    assert document["openapi"] == "3.0.3"
    assert document["components"]["schemas"]["Pair"]["properties"]["size"] == {
        "exclusiveMinimum": True,
        "minimum": 0,
        "nullable": True,
        "title": "Size",
        "type": "integer",
    }
    assert "Not expressed in OpenAPI 3.0: The types of items" in result.stderr
    assert "/components/schemas/Pair/properties/both/prefixItems" in result.stderr


def test_an_unknown_version_is_an_error(postern: Postern):
    assert postern("export", "openapi", "--openapi", "2.0").exit_code == 2


def test_it_is_written_to_a_file_in_a_single_line(postern: Postern, folder: Path):
    whole = json.loads(postern("export", "openapi").stdout)
    result = postern("export", "openapi", "--output", "openapi.json", "--indent", "0")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "openapi.json" in result.stderr
    text = (folder / "openapi.json").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1
    assert json.loads(text) == whole


def test_it_is_the_settings_installation(postern: Postern, folder: Path):
    (folder / "workflows" / "payroll.py").unlink()
    (folder / "workflows" / "visit.py").unlink()
    result = postern("export", "openapi", POSTERN_PUBLIC_URL="https://flows.example", **REAL)
    document = json.loads(result.stdout)
    assert document["servers"] == [{"url": "https://flows.example"}]
    flow = document["components"]["securitySchemes"]["entra"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"].startswith(f"https://login.microsoftonline.com/{REAL['POSTERN_TENANT_ID']}/")


@pytest.mark.parametrize("output", [[], ["--output", "openapi.json"]])
def test_with_a_faulty_workflow_nothing_is_written(postern: Postern, folder: Path, output: list[str]):
    (folder / "workflows" / "faulty.py").write_text("1 / 0\n", encoding="utf-8")
    result = postern("export", "openapi", *output)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "faulty.py:1" in result.stderr
    assert "Nothing was written" in result.stderr
    assert "--partial" in result.stderr
    assert not (folder / "openapi.json").exists()


def test_the_others_are_written_on_request(postern: Postern, folder: Path):
    (folder / "workflows" / "faulty.py").write_text("1 / 0\n", encoding="utf-8")
    result = postern("export", "openapi", "--partial")
    assert result.exit_code == 0
    assert "faulty.py:1" in result.stderr
    assert len(json.loads(result.stdout)["paths"]) == 11


def test_a_file_that_cannot_be_written_is_an_error(postern: Postern):
    result = postern("export", "openapi", "--output", "nowhere/openapi.json")
    assert result.exit_code == 1
    assert "nowhere/openapi.json cannot be written" in result.stderr


def test_a_document_shows_no_hidden_character(folder: Path, postern: Postern):
    """Also in values, which stay the same to a program that reads the document."""
    (folder / "workflows" / "hiding.py").write_text(HIDING, "utf-8")
    printed = postern("export", "openapi").stdout
    assert not set(printed) & set(HIDDEN)
    sizes = json.loads(printed)["components"]["schemas"]["Order"]["properties"]["size"]["enum"]
    assert sizes == [HIDDEN, "large"]
