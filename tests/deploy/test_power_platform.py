"""The page of the connector names what there is."""

import re
from typing import get_args

import pytest

from postern.cli.commands import loaded
from postern.cli.connector_steps import SCOPE
from postern.openapi.connector import DEFINITION_FILE, PROPERTIES_FILE
from postern.openapi.connector_triggers import Way
from tests.process.servers import ROOT

FOLDER = ROOT / "deploy" / "power-platform"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_option_is_on_the_page_and_every_one_on_it_is_there():
    options = {name for each in loaded("export").commands["connector"].params for name in each.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - {"--api-definition-file", "--api-properties-file"}
    assert named == {name for name in options if name.startswith("--")} - {"--help"}


def test_every_way_of_signing_in_is_on_the_page():
    assert all(f"`{way}`" in PAGE for way in get_args(Way))


@pytest.mark.parametrize("named", [DEFINITION_FILE, PROPERTIES_FILE, SCOPE])
def test_what_the_command_writes_and_requests_is_on_the_page(named: str):
    assert f"`{named}`" in PAGE


def test_its_links_lead_somewhere():
    assert all((FOLDER / link).is_file() for link in re.findall(r"\]\(([^)#:]+)\)", PAGE))
