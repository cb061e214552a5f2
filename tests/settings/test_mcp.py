"""The settings of `/mcp`."""

from typing import Any

import pytest

from postern.settings import SettingsFault, load_settings
from tests.table import table


@table(
    ("environ", "on", "scope"),
    [
        ({}, True, ".default"),
        ({"POSTERN_MCP": "on"}, True, ".default"),
        ({"POSTERN_MCP": "off"}, False, ".default"),
        ({"POSTERN_MCP_SCOPE": "Tools.Call"}, True, "Tools.Call"),
    ],
)
def test_mcp_is_on_with_the_default_scope_unless_the_settings_say_otherwise(
    tmp_path_factory: Any, environ: Any, on: Any, scope: Any
):
    settings = load_settings(environ, folder=tmp_path_factory.getbasetemp())
    assert (settings.mcp, settings.mcp_scope) == (on, scope)


@table(
    ("name", "value", "says"),
    [
        ("POSTERN_MCP", "true", "neither on nor off"),
        ("POSTERN_MCP", "OFF", "neither on nor off"),
        ("POSTERN_MCP_SCOPE", "api://postern/Tools.Call", "the name only"),
        ("POSTERN_MCP_SCOPE", "https://postern.example/mcp/.default", "the name only"),
        ("POSTERN_MCP_SCOPE", "Tools.Call Tools.Read", "one name without spaces"),
        ("POSTERN_MCP_SCOPE", '"Tools"', "one name without spaces"),
        ("POSTERN_MCP_SCOPE", "openid", "OpenID Connect"),
        ("POSTERN_MCP_SCOPE", "x" * 121, "one name"),
    ],
)
def test_another_value_is_a_problem_that_names_the_setting_and_the_fix(
    tmp_path_factory: Any, name: Any, value: Any, says: Any
):
    with pytest.raises(SettingsFault) as caught:
        load_settings({name: value}, folder=tmp_path_factory.getbasetemp())
    assert name in str(caught.value)
    assert says in str(caught.value)
