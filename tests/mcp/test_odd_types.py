"""Tools of every workflow that the tests of documents have, whatever its types: none breaks a rule of clients."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]
from mcp_types import Tool as WireTool

from postern.authoring.tool import Tool
from postern.catalog import Trigger
from postern.mcp.tools import McpTool, tools_of
from tests.mcp.plain_rules import root_breaches
from tests.modules import no_modules_left
from tests.openapi import nasty
from tests.openapi.catalogs import HIDDEN, HIDING, ODD, OTHER, triggers_of, write
from tests.shipped import examples_folder

pytestmark = pytest.mark.slow


def as_tools(triggers: Mapping[str, Trigger]) -> dict[str, McpTool]:
    """All of these as tools, but forms, which no author can make one."""
    wanted = {
        name: replace(each, workflow=replace(each.workflow, tool=Tool(title="Some")))
        for name, each in triggers.items()
        if each.workflow.form is None
    }
    return tools_of(wanted)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, McpTool]:
    folder = write(tmp_path_factory.mktemp("odd"), odd=ODD, other=OTHER, hiding=HIDING)
    with no_modules_left():
        odd = triggers_of(folder)
    with no_modules_left():
        shipped = triggers_of(examples_folder())
    return as_tools(nasty.triggers()) | as_tools(odd) | as_tools(shipped)


def test_every_schema_keeps_the_rules_and_is_valid_in_both_drafts(every: dict[str, McpTool]):
    assert len(every) > 25
    for made in every.values():
        assert root_breaches(made.input_schema) == [], made.name
        schemas = [made.input_schema]
        if made.output_schema is not None:
            assert root_breaches(made.output_schema, nullable=True) == [], made.name
            schemas.append(made.output_schema)
        for schema in schemas:
            Draft7Validator.check_schema(schema)
            Draft202012Validator.check_schema(schema)


def test_every_tool_is_one_on_the_wire_and_has_no_hidden_character(every: dict[str, McpTool]):
    for made in every.values():
        wire = {
            "name": made.name,
            "title": made.title,
            "description": made.description,
            "inputSchema": made.input_schema,
            "outputSchema": made.output_schema,
            "annotations": made.annotations,
        }
        assert WireTool.model_validate(wire).name == made.name
        described = json.dumps([made.title, made.description], ensure_ascii=False)
        assert not set(described) & set(HIDDEN), made.name


def test_a_secret_default_is_in_no_schema(every: dict[str, McpTool]):
    """The type Odd has some, which the document leaves out too."""
    shown = json.dumps([each.input_schema for each in every.values()])
    assert '"hidden"' in shown
    assert ODD.count("hunter") > 1
    assert "hunter" not in shown
